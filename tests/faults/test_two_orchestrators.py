"""Two processes that move the same runs on, also where one is suspended for longer than its lease."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from tests.support.faults.fault_checks import Trial, nothing_left
from tests.support.faults.fault_table import FaultTable
from tests.support.faults.rivals import Rivals
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.on_slurm import SlurmWorld

__all__ = ["nothing_left"]
# a cluster of their own: another worker may have them while the first one has the other faults
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm-beside")]

RUNS = 12
BORDERS = (
    "lease taken",
    "taken up",
    "directories laid out",
    "intent committed",
    "sent",
    "sending recorded",
    "outputs verified",
)


@pytest.fixture
def rivals(slurm_cluster: SlurmCluster, tmp_path: Path, ops_db: OpsDb) -> Iterator[Rivals]:
    lab = SlurmWorld.open(ops_db, tmp_path / "lab", LocalShell(slurm_cluster.environment))
    rivals = Rivals(lab, slurm_cluster, tmp_path / "control")
    yield rivals
    rivals.end()


def test_two_processes_that_start_at_once_send_each_run_once(rivals: Rivals, fault_table: FaultTable) -> None:
    rivals.lab.declare(*(["a"] * RUNS))
    trial = Trial.of_lab(rivals.lab, rivals.slurm)
    rivals.start()
    rivals.await_ended()
    trial.judge(fault_table, "two orchestrators", {"COMPLETED": RUNS}, tried=1)
    assert len(trial.attempts()) == RUNS


def test_a_process_suspended_in_the_middle_does_no_harm_when_resumed(rivals: Rivals, fault_table: FaultTable) -> None:
    rivals.lab.declare("a")
    trial = Trial.of_lab(rivals.lab, rivals.slurm)
    rivals.start()
    moments = (False, True) if rivals.lab.cluster.ops_db.is_sqlite else (False,)
    rounds = [(border, late) for border in BORDERS for late in moments]
    for number, (border, late) in enumerate(rounds):
        rivals.freeze_at(border)
        trial.arrive(*range(1 + 2 * number, 3 + 2 * number))
        with rivals.frozen() as pid:
            rivals.await_that(lambda pid=pid: rivals.holder() != pid)  # type: ignore[misc]
            if late:
                rivals.await_ended()
        rivals.await_ended()
    rivals.rest()
    runs = 1 + 2 * len(rounds)
    trial.judge(fault_table, "two orchestrators, one frozen at a border", {"COMPLETED": runs}, tried=len(rounds))
    assert len(trial.attempts()) == runs


def test_processes_suspended_at_any_moment_do_no_harm_when_resumed(rivals: Rivals, fault_table: FaultTable) -> None:
    chance, freezes, runs = random.Random(7), 6, 30
    rivals.lab.declare(*(["a"] * runs), seconds=0.2)
    trial = Trial.of_lab(rivals.lab, rivals.slurm)
    rivals.start()
    for _ in range(freezes):
        rivals.freeze_for(1.3, chance.randrange(2), after_seconds=chance.uniform(0, 0.6))
    rivals.await_ended()
    rivals.rest()
    trial.judge(fault_table, "two orchestrators, one frozen at any moment", {"COMPLETED": runs}, tried=freezes)
