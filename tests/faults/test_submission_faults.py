"""Submissions whose replies are lost, spoilt, late or bad."""

from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from resources.slurm.backend import Limits
from tests.support.faults.fault_checks import PATIENT, in_image, nothing_left
from tests.support.faults.fault_slurm import Fault
from tests.support.faults.fault_table import FaultTable
from tests.support.parts.apptainer import Image, apptainer_image
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.faulty_slurm import BUSY, FaultySlurmWorld
from tests.support.worlds.manual import NO_RETRIES

__all__ = ["apptainer_image", "nothing_left"]
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm")]

RUNS = 12
SINGLY = Limits(largest_batch=1, timeout_seconds=20)
HASTY = Limits(largest_batch=1, timeout_seconds=1)
IN_PAIRS = Limits(largest_batch=2, timeout_seconds=20)
STRUCK = (1, 2, 3, 5, 7, 9, 12, 15, 18)  # each call, then every second one, then every third one


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.GARBLE, Fault.TRUNCATE, Fault.HANG_AFTER])
def test_an_accepted_submission_without_a_reply_is_not_repeated(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, fault: Fault
) -> None:
    limits = HASTY if fault is Fault.HANG_AFTER else SINGLY
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=BUSY, limits=limits)
    trial = world.trial(20)
    world.commands.inject("sbatch", fault, calls=STRUCK)
    world.lab.until_ended()
    trial.judge(fault_table, f"sbatch accepts, then: {fault.value}", {"COMPLETED": 20}, tried=world.struck)
    assert (len(trial.attempts()), world.struck) == (20, len(STRUCK))
    assert world.commands.count()["sbatch"] == 20, "whatever the reply, none is sent twice"


@pytest.mark.parametrize("fault", [Fault.POSTPONE, Fault.HANG, Fault.FAIL])
def test_a_submission_that_was_not_taken_is_sent_again(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, fault: Fault
) -> None:
    world = FaultySlurmWorld(
        sqlite_ops_db, tmp_path, slurm_cluster, timing=BUSY, limits=HASTY if fault is Fault.HANG else SINGLY
    )
    trial = world.trial(RUNS)
    world.commands.inject("sbatch", fault, calls=STRUCK)
    world.lab.until_ended()
    trial.judge(fault_table, f"sbatch takes nothing: {fault.value}", {"COMPLETED": RUNS}, tried=world.struck)
    assert (len(trial.attempts()), world.struck) == (RUNS, len(STRUCK))


def test_a_submission_that_is_refused_for_good_fails_and_runs_nothing(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=BUSY, limits=SINGLY)
    trial = world.trial(20, retries=NO_RETRIES)
    world.commands.inject("sbatch", Fault.REFUSE, calls=STRUCK)
    world.lab.until_ended()
    trial.judge(
        fault_table,
        "sbatch refuses for good",
        {"FAILED": len(STRUCK), "COMPLETED": 20 - len(STRUCK)},
        tried=world.struck,
        expected=lambda attempt, _: int(attempt.failure_class is None),
    )
    messages = {attempt.failure_message for attempt in trial.attempts().values() if attempt.failure_class}
    assert all("Invalid partition name specified" in (message or "") for message in messages)


def test_a_reply_that_is_lost_does_not_start_a_container_twice(
    slurm_cluster: SlurmCluster,
    sqlite_ops_db: OpsDb,
    tmp_path: Path,
    fault_table: FaultTable,
    apptainer_image: Image,
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=BUSY, limits=IN_PAIRS)
    in_image(world.lab, apptainer_image)
    trial = world.trial(RUNS, retries=PATIENT)
    world.commands.inject("sbatch", Fault.LOSE_REPLY, every=1)
    world.commands.inject("squeue", Fault.TRUNCATE, calls=[1, 3])
    world.lab.until_ended()
    trial.judge(fault_table, "sbatch's and squeue's replies lost, in images", {"COMPLETED": RUNS}, tried=world.struck)
    assert {attempt.runtime for attempt in trial.attempts().values()} == {"apptainer"}


@pytest.mark.parametrize("empty_looks", [2, 12])
def test_jobs_that_the_queue_hides_are_sent_again_and_run_once(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, empty_looks: int
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=BUSY, limits=IN_PAIRS)
    trial = world.trial(RUNS, seconds=0.5)
    world.commands.inject("sbatch", Fault.LOSE_REPLY, every=2)
    world.commands.inject("squeue", Fault.EMPTY, calls=range(1, empty_looks + 1))
    world.lab.until_ended()
    trial.judge(fault_table, "sbatch's reply lost, squeue empty after it", {"COMPLETED": RUNS}, tried=world.struck)
