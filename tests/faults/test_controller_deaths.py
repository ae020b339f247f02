"""A controller that stops or is killed and is started again, and one that keeps no accounts."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from resources.slurm.backend import Limits
from tests.support.faults.fault_checks import PATIENT, Trial, begun_at_most_once, take_back_nodes
from tests.support.faults.fault_slurm import Fault
from tests.support.faults.fault_table import FaultTable
from tests.support.faults.moments import watched
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.faulty_slurm import IMPATIENT, FaultySlurmWorld, look_for
from tests.support.worlds.on_slurm import SlurmWorld

# Each test has a cluster of its own: a controller that is killed gives the ids of jobs it has forgotten once more, and
# nodes that still know them do not run the new ones.
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm-beside")]

RUNS = 12
BY = pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])


@pytest.fixture
def slurm() -> Iterator[SlurmCluster]:
    with SlurmCluster(accounting=False) as cluster:
        yield cluster


@BY
def test_a_controller_that_dies_having_accepted_loses_no_run(
    slurm: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, by: signal.Signals
) -> None:
    deaths: list[str] = []

    def passing(border: str) -> None:
        if border == "sent" and len(deaths) < 2:
            deaths.append(border)
            slurm.kill("slurmctld", by)
            slurm.respawn("slurmctld")
            take_back_nodes(slurm)

    shell, limits = LocalShell(slurm.environment), Limits(largest_batch=2, timeout_seconds=20)
    lab = SlurmWorld.open(sqlite_ops_db, tmp_path / "lab", shell, limits=limits, timing=IMPATIENT)
    lab.works.cluster = watched(lab.cluster, passing)
    lab.declare(*(["a"] * RUNS), retries=PATIENT, seconds=0.3)
    trial = Trial.of_lab(lab, None)
    lab.until_ended()
    fault = f"slurmctld ended by {by.name} after accepting"
    trial.judge(fault_table, fault, {"COMPLETED": RUNS}, tried=len(deaths), expected=begun_at_most_once)


@BY
def test_a_controller_that_is_down_while_jobs_run_loses_nothing(
    slurm: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, by: signal.Signals
) -> None:
    lab = SlurmWorld.open(sqlite_ops_db, tmp_path / "lab", LocalShell(slurm.environment), timing=IMPATIENT)
    lab.declare(*(["a"] * RUNS), seconds=2, retries=PATIENT)
    trial = Trial.of_lab(lab, None)
    lab.until(lambda: lab.statuses()["RUNNING"] == RUNS)
    with slurm.without("slurmctld", by):
        look_for(2, lab)
    look_for(1, lab)
    take_back_nodes(slurm)
    lab.until_ended()
    fault = f"slurmctld ended by {by.name} while jobs run"
    trial.judge(fault_table, fault, {"COMPLETED": RUNS}, tried=1, expected=begun_at_most_once)


def test_a_cluster_without_accounts_runs_everything_once(
    slurm: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm, timing=IMPATIENT)
    world.lab.declare(*(["a"] * 8), seconds=2, retries=PATIENT)
    trial = Trial.of_lab(world.lab, None)
    world.commands.inject("sbatch", Fault.LOSE_REPLY, calls=[1])
    world.lab.until(lambda: len(trial.running_ids()) == 8)
    trial.kill_wrappers(3)
    world.lab.until_ended()
    trial.judge(fault_table, "accounting off, reply lost, wrappers killed", {"COMPLETED": 8}, tried=4)
    assert len(trial.attempts()) == 11
