"""Looks that are answered wrongly, late or not at all, and what befalls jobs from outside while they wait and run."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ccat_models.tables.execution import FailureClass
from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from tests.support.faults.fault_checks import PATIENT, Trial, begun_at_most_once, in_image, nothing_left
from tests.support.faults.fault_slurm import Fault
from tests.support.faults.fault_table import FaultTable
from tests.support.parts.apptainer import Image, apptainer_image
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.faulty_slurm import CALM, HASTY, IMPATIENT, FaultySlurmWorld, look_for
from tests.support.worlds.on_slurm import SlurmWorld

__all__ = ["apptainer_image", "nothing_left"]
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("slurm")]

SLOTS = 16
WRONG_ANSWERS = [
    Fault.EMPTY,
    Fault.STALE,
    Fault.TRUNCATE,
    Fault.GARBLE,
    Fault.FAIL,
    Fault.SLOW,
    Fault.OTHER_CLUSTER,
]


def some(status: str, lab: SlurmWorld) -> Callable[[], bool]:
    """Return whether any run has this status now, as a condition."""
    return lambda: lab.statuses()[status] > 0


@pytest.fixture
def lab(slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path) -> SlurmWorld:
    return SlurmWorld.open(sqlite_ops_db, tmp_path / "lab", LocalShell(slurm_cluster.environment), timing=IMPATIENT)


@pytest.mark.parametrize("fault", WRONG_ANSWERS)
def test_wrong_answers_while_jobs_wait_and_run_change_nothing(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, fault: Fault
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=CALM)
    trial = world.trial(SLOTS + 4, seconds=1.5)
    world.lab.until(some("RUNNING", world.lab))
    for program in ("squeue", "sacct", "scontrol"):
        world.commands.inject(program, fault, every=1)
    look_for(2.5, world.lab)
    world.commands.clear()
    world.lab.until_ended()
    name = f"squeue, sacct, scontrol: {fault.value}"
    trial.judge(fault_table, name, {"COMPLETED": SLOTS + 4}, tried=world.struck)
    assert len(trial.attempts()) == SLOTS + 4, "none was given up"


@pytest.mark.parametrize("fault", WRONG_ANSWERS)
def test_wrong_answers_about_jobs_that_vanished_cost_no_more_than_their_attempts(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, fault: Fault
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=IMPATIENT)
    trial = world.trial(8, seconds=8, retries=PATIENT)
    world.lab.until(lambda: len(trial.running_ids()) == 8)
    trial.kill_wrappers(2)
    world.lab.until(lambda: world.commands.count()["sacct"] > 0)  # of which a stale answer is a repetition
    world.commands.inject("sacct", fault, every=1)
    trial.kill_wrappers(4)  # two of them are dead
    world.lab.until(lambda: world.struck_by(fault, program="sacct") > 0)
    look_for(1, world.lab)
    world.commands.clear()
    world.lab.until_ended()
    name, struck = f"sacct: {fault.value}, of jobs that vanished", world.struck_by(fault, program="sacct")
    trial.judge(fault_table, name, {"COMPLETED": 8}, tried=struck)
    assert len(trial.attempts()) == 8 + 4


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.OTHER_CLUSTER])
def test_jobs_that_are_given_up_too_early_never_run_beside_those_that_follow(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable, fault: Fault
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=HASTY)
    trial = world.trial(SLOTS + 8, seconds=3, retries=PATIENT)
    world.lab.until(some("RUNNING", world.lab))
    for program in ("squeue", "sacct"):
        world.commands.inject(program, fault, every=1)
    look_for(2.5, world.lab)
    world.commands.clear()
    world.lab.until_ended()
    statuses, name = {"COMPLETED": SLOTS + 8}, f"squeue, sacct: {fault.value}, jobs given up too early"
    trial.judge(fault_table, name, statuses, tried=world.struck, expected=begun_at_most_once)
    lost = [label for label, attempt in trial.attempts().items() if attempt.failure_class is FailureClass.LOST]
    assert 0 < len(lost) <= 8, "those that waited; those that ran gave signs of life"
    assert [label for label in lost if trial.executions()[label]] == [], "their claims were taken"


def test_looks_that_fail_now_and_then_change_nothing(
    slurm_cluster: SlurmCluster, sqlite_ops_db: OpsDb, tmp_path: Path, fault_table: FaultTable
) -> None:
    world = FaultySlurmWorld(sqlite_ops_db, tmp_path, slurm_cluster, timing=CALM)
    trial = world.trial(SLOTS + 8, seconds=1)
    world.commands.inject("squeue", Fault.EMPTY, every=5)
    world.commands.inject("squeue", Fault.STALE, every=3)
    world.commands.inject("squeue", Fault.FAIL, every=2)
    world.lab.until_ended()
    trial.judge(fault_table, "squeue: one fault after the other", {"COMPLETED": SLOTS + 8}, tried=world.struck)
    assert len(trial.attempts()) == SLOTS + 8


def test_without_slurmdbd_runs_continue_and_the_accounts_follow(
    slurm_cluster: SlurmCluster, lab: SlurmWorld, fault_table: FaultTable
) -> None:
    lab.declare(*(["a"] * SLOTS), seconds=2, retries=PATIENT)
    with slurm_cluster.without("slurmdbd"):
        trial = Trial.of_lab(lab, slurm_cluster)
        lab.until(lambda: len(trial.running_ids()) == SLOTS)
        trial.kill_wrappers(2)
        lab.until_ended()
    trial.judge(fault_table, "slurmdbd down during everything", {"COMPLETED": SLOTS}, tried=1)
    assert len(trial.attempts()) == SLOTS + 2


def test_a_node_that_is_lost_costs_its_jobs_one_attempt(
    slurm_cluster: SlurmCluster, lab: SlurmWorld, fault_table: FaultTable, apptainer_image: Image
) -> None:
    in_image(lab, apptainer_image)
    lab.declare(*(["a"] * 12), seconds=4, retries=PATIENT)
    trial = Trial.of_lab(lab, slurm_cluster)
    lab.until(lambda: lab.statuses()["RUNNING"] == 12)
    lab.until(lambda: sum(trial.executions().values()) == 12)
    slurm_cluster.node_down("n1")
    look_for(1, lab)
    slurm_cluster.node_up("n1")
    lab.until_ended()
    trial.judge(fault_table, "a node declared down, in images", {"COMPLETED": 12}, tried=1)
    failures = {attempt.failure_class for attempt in trial.attempts().values()}
    assert failures == {None, FailureClass.INFRASTRUCTURE}


def cancel_outside(slurm: SlurmCluster, trial: Trial) -> None:
    slurm.run("scancel", *trial.running_ids()[:4])


def requeue(slurm: SlurmCluster, trial: Trial) -> None:
    for job_id in trial.running_ids()[:4]:
        slurm.run("scontrol", "update", f"jobid={job_id}", "requeue=1")
        slurm.run("scontrol", "requeue", job_id)


def suspend(slurm: SlurmCluster, trial: Trial) -> None:
    ids = trial.running_ids()[:4]
    for job_id in ids:
        slurm.run("scontrol", "suspend", job_id)
    time.sleep(1)
    for job_id in ids:
        slurm.run("scontrol", "resume", job_id)


def kill_four_wrappers(_slurm: SlurmCluster, trial: Trial) -> None:
    trial.kill_wrappers(4)


DEEDS: Mapping[str, tuple[Callable[[SlurmCluster, Trial], None], int]] = {
    # what is done to four jobs that run, and how many attempts more that costs
    "scancel from outside": (cancel_outside, 4),
    "scontrol requeue": (requeue, 4),
    "scontrol suspend and resume": (suspend, 0),
    "wrappers killed -9": (kill_four_wrappers, 4),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_an_external_event_costs_a_job_at_most_one_attempt(
    slurm_cluster: SlurmCluster, lab: SlurmWorld, fault_table: FaultTable, deed: str
) -> None:
    do, cost = DEEDS[deed]
    lab.declare(*(["a"] * 8), seconds=3, retries=PATIENT)
    trial = Trial.of_lab(lab, slurm_cluster)
    lab.until(lambda: len(trial.running_ids()) == 8)
    do(slurm_cluster, trial)
    lab.until_ended()
    trial.judge(fault_table, deed, {"COMPLETED": 8}, tried=4)
    assert len(trial.attempts()) == 8 + cost, [attempt.failure_message for attempt in trial.attempts().values()]


def test_a_wrapper_that_is_killed_takes_its_container_with_it(
    slurm_cluster: SlurmCluster, lab: SlurmWorld, fault_table: FaultTable, apptainer_image: Image
) -> None:
    in_image(lab, apptainer_image)
    lab.declare(*(["a"] * 6), seconds=3, retries=PATIENT)
    trial = Trial.of_lab(lab, slurm_cluster)
    lab.until(lambda: len(trial.running_ids()) == 6)
    trial.kill_wrappers(3)
    lab.until_ended()
    trial.judge(fault_table, "wrappers killed -9, in images", {"COMPLETED": 6}, tried=3)


def test_jobs_that_are_held_wait_and_run_once_when_they_are_released(
    slurm_cluster: SlurmCluster, lab: SlurmWorld, fault_table: FaultTable
) -> None:
    lab.declare(*(["a"] * (SLOTS + 6)), seconds=1)
    trial = Trial.of_lab(lab, slurm_cluster)
    lab.until(some("RUNNING", lab))
    batches = {str(attempt.job_id).partition("_")[0] for attempt in trial.attempts().values() if attempt.job_id}
    for batch in batches:
        slurm_cluster.run("scontrol", "hold", batch)
    look_for(2.5, lab)
    assert lab.statuses() == {"COMPLETED": SLOTS, "SUBMITTED": 6}
    for batch in batches:
        slurm_cluster.run("scontrol", "release", batch, check=False)  # complains of the tasks that have ended
    lab.until_ended()
    trial.judge(fault_table, "held, then released", {"COMPLETED": SLOTS + 6}, tried=6)
    assert len(trial.attempts()) == SLOTS + 6
