import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ccat_models.tables.execution import FailureClass
from resources.backend import Batch, Job, JobRequest, JobState, Sent, Shape
from resources.errors import BackEndUnavailable, SubmissionDoubtful, SubmissionPostponed, SubmissionRefused
from resources.shell.local import LocalShell
from resources.slurm.backend import Limits, SlurmBackEnd
from resources.slurm.render import Site
from tests.support.faults.fault_slurm import Fault, FaultyCommands
from tests.support.hands.attempts import eventually, node_program, python, write_job
from tests.support.hands.batches import read_result
from tests.support.parts.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("slurm")]

DONE = python("print('done')")
ASLEEP = python("import time; time.sleep(300)")
SHAPE = Shape(1, 0.1, None)


class TickedWorld:
    """A back end at work: batches of attempts whose directories are below one base."""

    def __init__(self, base: Path, cluster: SlurmCluster) -> None:
        self.base = base
        self.cluster = cluster
        self.faulty = FaultyCommands(base / "faulty", cluster.environment["PATH"])
        self.site = Site(base, node_program(), sys.executable)
        self.back_end = self.another()

    def another(self, limits: Limits | None = None, **site: object) -> SlurmBackEnd:
        shell = LocalShell(self.cluster.environment | {"PATH": self.faulty.path})
        return SlurmBackEnd(shell, replace(self.site, **site), limits or Limits(timeout_seconds=20))  # type: ignore[arg-type]

    def batch(self, *commands: tuple[str, ...], shape: Shape = SHAPE) -> Batch:
        key = uuid.uuid4().hex
        requests = [
            JobRequest(f"{key[:8]}-{index}", self.base / f"{key[:8]}-{index}", index)
            for index, _ in enumerate(commands)
        ]
        for request, command in zip(requests, commands, strict=True):
            write_job(
                request.attempt_directory,
                command,
                submission_key=request.submission_key,
                job_id_variable="SLURM_JOB_ID",
            )
        return Batch(key, shape, requests)

    def find(self, batch: Batch) -> list[Job | None]:
        found = self.back_end.find(sent(batch))
        return [found.get(request.submission_key) for request in batch.requests]

    def states(self, batch: Batch) -> list[JobState | None]:
        return [None if job is None else job.state for job in self.find(batch)]

    def await_states(self, batch: Batch, *states: JobState | None) -> None:
        eventually(lambda: self.states(batch) == list(states))

    def outcomes(self, batch: Batch) -> list[str | None]:
        results = [read_result(request.attempt_directory, request.submission_key) for request in batch.requests]
        return [None if result is None else result.outcome for result in results]


def sent(batch: Batch, job_id: str | None = None) -> list[Sent]:
    return [
        Sent(request.submission_key, batch.key, request.index, job_id and f"{job_id}_{request.index}")
        for request in batch.requests
    ]


@pytest.fixture
def bench(tmp_path: Path, slurm_cluster: SlurmCluster) -> Iterator[TickedWorld]:
    yield TickedWorld(tmp_path, slurm_cluster)
    slurm_cluster.clear()


def only(jobs: list[Job | None]) -> Job:
    [job] = jobs
    assert job is not None
    return job


def test_the_tasks_of_a_batch_run_each_in_its_own_directory(bench: TickedWorld) -> None:
    batch = bench.batch(DONE, python("raise SystemExit(3)"), DONE)
    job_id = bench.back_end.submit(batch)
    assert [only([job]).job_id for job in bench.find(batch)] == [f"{job_id}_{index}" for index in range(3)]
    bench.await_states(batch, JobState.ENDED, JobState.ENDED, JobState.ENDED)
    assert bench.outcomes(batch) == ["completed", "failed", "completed"]
    assert all((request.attempt_directory / "logs" / "wrapper.log").exists() for request in batch.requests)


def test_looking_for_many_jobs_is_one_call(bench: TickedWorld) -> None:
    batches = [bench.batch(ASLEEP, ASLEEP), bench.batch(ASLEEP)]
    for batch in batches:
        bench.back_end.submit(batch)
    found = bench.back_end.find([one for batch in batches for one in sent(batch)])
    assert len(found) == 3
    assert bench.faulty.count() == {"sbatch": 2, "squeue": 1} == bench.back_end.calls


def test_the_users_environment_reaches_neither_sbatch_nor_the_job(bench: TickedWorld) -> None:
    environment = bench.cluster.environment | {
        "SBATCH_PARTITION": "nowhere",
        "SQUEUE_PARTITION": "short",
        "SECRET": "s",
    }
    back_end = SlurmBackEnd(LocalShell(environment), bench.site)
    batch = bench.batch(python("import os; open('environment', 'w').write('\\n'.join(os.environ))"))
    back_end.submit(batch)
    assert len(back_end.find(sent(batch))) == 1
    bench.await_states(batch, JobState.ENDED)
    assert bench.outcomes(batch) == ["completed"]
    text = bench.cluster.run("scontrol", "show", "job", only(bench.find(batch)).job_id).stdout
    assert "Requeue=0" in text
    assert "SECRET" not in (batch.requests[0].attempt_directory / "output" / "environment").read_text()


def test_one_task_is_cancelled_and_its_neighbours_continue(bench: TickedWorld) -> None:
    batch = bench.batch(ASLEEP, ASLEEP, ASLEEP)
    job_id = bench.back_end.submit(batch)
    bench.await_states(batch, JobState.RUNNING, JobState.RUNNING, JobState.RUNNING)
    eventually((batch.requests[1].attempt_directory / "claim" / "owner.json").exists)
    bench.back_end.cancel([only([bench.find(batch)[1]])])
    bench.await_states(batch, JobState.RUNNING, JobState.ENDED, JobState.RUNNING)
    # scancel signals the wrapper and its program at once: which of the two sees it first is the wrapper's affair.
    eventually(lambda: bench.outcomes(batch)[1] == "cancelled")
    assert bench.outcomes(batch)[::2] == [None, None]
    key = batch.requests[1].submission_key
    eventually(lambda: key in bench.back_end.endings(sent(batch, job_id)))
    endings = bench.back_end.endings(sent(batch, job_id))
    assert list(endings) == [key]
    assert endings[key].failure is FailureClass.INFRASTRUCTURE
    assert endings[key].evidence["state"].startswith("CANCELLED by")


def test_all_tasks_of_several_batches_are_cancelled_at_once(bench: TickedWorld) -> None:
    batches = [bench.batch(ASLEEP, ASLEEP), bench.batch(ASLEEP)]
    for batch in batches:
        bench.back_end.submit(batch)
    found = bench.back_end.find([one for batch in batches for one in sent(batch)]).values()
    bench.back_end.cancel(found)
    bench.await_states(batches[0], JobState.ENDED, JobState.ENDED)
    bench.await_states(batches[1], JobState.ENDED)
    bench.back_end.cancel(found)
    assert bench.back_end.calls["scancel"] == 2


def test_a_refused_batch_leaves_no_job(bench: TickedWorld) -> None:
    batch = bench.batch(DONE, shape=replace(SHAPE, options={"partition": "nowhere"}))
    with pytest.raises(SubmissionRefused, match="Invalid partition name specified"):
        bench.back_end.submit(batch)
    assert bench.find(batch) == [None]


def test_a_batch_that_asks_for_too_much_is_refused(bench: TickedWorld) -> None:
    with pytest.raises(SubmissionRefused, match="Requested node configuration is not available"):
        bench.back_end.submit(bench.batch(DONE, shape=replace(SHAPE, memory_gb=1000.0)))


def test_a_job_that_will_never_run_has_ended_and_lingers(bench: TickedWorld) -> None:
    batch = bench.batch(DONE, shape=Shape(1, 0.1, 3600.0, options={"partition": "short"}))
    bench.back_end.submit(batch)
    bench.await_states(batch, JobState.ENDED)
    job = only(bench.find(batch))
    assert job.ending is not None
    assert (job.ending.failure, job.ending.lingers) == (FailureClass.PERMANENT, True)
    assert "PartitionTimeLimit" in job.ending.message
    bench.back_end.cancel([job])
    job = only(bench.find(batch))
    assert job.ending is not None
    assert (job.ending.failure, job.ending.lingers) == (FailureClass.INFRASTRUCTURE, False)


def test_a_task_that_was_cancelled_before_it_started_vanishes_until_its_array_has_ended(bench: TickedWorld) -> None:
    batch = bench.batch(DONE, DONE, DONE, shape=Shape(1, 0.1, 3600.0, options={"partition": "short"}))
    job_id = bench.back_end.submit(batch)
    bench.cluster.run("scancel", f"{job_id}_1")
    bench.await_states(batch, JobState.ENDED, None, JobState.ENDED)
    bench.cluster.run("scancel", f"{job_id}_[0,2]")
    jobs = [only([job]) for job in bench.find(batch)]
    assert [(job.job_id, job.state) for job in jobs] == [(f"{job_id}_{index}", JobState.ENDED) for index in range(3)]
    assert {job.ending and job.ending.failure for job in jobs} == {FailureClass.INFRASTRUCTURE}


def test_a_held_job_waits(bench: TickedWorld) -> None:
    batch = bench.batch(DONE, shape=replace(SHAPE, cpus=8, options={"nodelist": "n1"}))
    bench.back_end.submit(bench.batch(ASLEEP, shape=replace(SHAPE, options={"nodelist": "n1"})))
    job_id = bench.back_end.submit(batch)
    bench.cluster.run("scontrol", "hold", job_id)
    job = only(bench.find(batch))
    assert (job.state, job.reason, job.ending) == (JobState.QUEUED, "JobHeldAdmin", None)


def test_a_lost_node_is_reported_and_the_job_is_not_run_again(bench: TickedWorld) -> None:
    batch = bench.batch(ASLEEP, shape=replace(SHAPE, options={"nodelist": "n2"}))
    bench.back_end.submit(batch)
    bench.await_states(batch, JobState.RUNNING)
    job = only(bench.find(batch))
    refused = bench.cluster.run("scontrol", "requeue", job.job_id, check=False)
    assert refused.returncode != 0
    assert bench.states(batch) == [JobState.RUNNING]
    bench.cluster.node_down("n2")
    bench.await_states(batch, JobState.ENDED)
    ending = only(bench.find(batch)).ending
    bench.cluster.node_up("n2")
    assert ending is not None
    assert (ending.failure, ending.evidence["state"]) == (FailureClass.INFRASTRUCTURE, "NODE_FAIL")


def test_limits_are_those_of_the_cluster_and_of_the_settings(bench: TickedWorld) -> None:
    assert bench.another(Limits(largest_batch=100_000)).largest_batch == 10_001
    back_end = bench.another(Limits(largest_batch=50, jobs_in_queue=10))
    assert (back_end.largest_batch, back_end.largest_batch, back_end.capacity(), back_end.capacity()) == (
        50,
        50,
        10,
        10,
    )
    back_end.submit(bench.batch(ASLEEP, ASLEEP, ASLEEP))
    assert back_end.capacity() == 7
    assert back_end.calls == {"scontrol": 1, "squeue": 1, "sbatch": 1}


def test_a_controller_that_is_down_is_no_answer_and_its_jobs_are_found_again(bench: TickedWorld) -> None:
    back_end = bench.another(Limits(timeout_seconds=3))
    batch, other = bench.batch(ASLEEP), bench.batch(ASLEEP)
    back_end.submit(batch)
    bench.await_states(batch, JobState.RUNNING)
    with bench.cluster.without("slurmctld", signal.SIGTERM):  # by SIGKILL it forgets what it took last
        with pytest.raises(BackEndUnavailable):
            back_end.find(sent(batch))
        with pytest.raises(SubmissionDoubtful):
            back_end.submit(other)
        with pytest.raises(BackEndUnavailable):
            back_end.cancel([Job("key", "1_0", JobState.RUNNING)])
    assert bench.states(batch) == [JobState.RUNNING]
    assert bench.find(other) == [None]


def test_a_controller_that_hangs_is_no_answer(bench: TickedWorld) -> None:
    back_end = bench.another(Limits(timeout_seconds=2))
    batch = bench.batch(ASLEEP)
    bench.cluster.freeze("slurmctld")
    try:
        with pytest.raises(BackEndUnavailable):
            back_end.find(sent(batch))
        with pytest.raises(SubmissionDoubtful):
            back_end.submit(batch)
    finally:
        bench.cluster.thaw("slurmctld")
    back_end.find(sent(batch))  # whatever came of it, the queue is legible again


@pytest.mark.parametrize("fault", [Fault.LOSE_REPLY, Fault.GARBLE, Fault.TRUNCATE, Fault.HANG_AFTER])
def test_a_job_whose_acceptance_was_not_received_is_found_by_its_name(bench: TickedWorld, fault: Fault) -> None:
    back_end = bench.another(Limits(timeout_seconds=2))
    batch = bench.batch(ASLEEP)
    bench.faulty.inject("sbatch", fault, calls=[1])
    with pytest.raises(SubmissionDoubtful):
        back_end.submit(batch)
    assert only(bench.find(batch)).state in (JobState.QUEUED, JobState.RUNNING)


def test_what_is_postponed_is_not_in_doubt(bench: TickedWorld) -> None:
    bench.faulty.inject("sbatch", Fault.POSTPONE, calls=[1])
    with pytest.raises(SubmissionPostponed):
        bench.back_end.submit(bench.batch(DONE))


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.GARBLE, Fault.TRUNCATE])
def test_a_spoilt_queue_is_no_answer(bench: TickedWorld, fault: Fault) -> None:
    batch = bench.batch(ASLEEP)
    bench.back_end.submit(batch)
    bench.faulty.inject("squeue", fault, calls=[1])
    with pytest.raises(BackEndUnavailable):
        bench.find(batch)
    assert len(bench.back_end.find(sent(batch))) == 1


def test_another_clusters_empty_queue_says_nothing_of_our_jobs(bench: TickedWorld) -> None:
    back_end = bench.another(Limits(cluster="ccattest"))
    batch = bench.batch(ASLEEP)
    back_end.submit(batch)
    for program in ("squeue", "scontrol"):
        bench.faulty.inject(program, Fault.OTHER_CLUSTER, every=1)
    for _ in range(2):
        with pytest.raises(BackEndUnavailable, match="'another' answers for another cluster, 'ccattest'"):
            back_end.find(sent(batch))
    bench.faulty.clear()
    assert len(back_end.find(sent(batch))) == 1


def test_missing_jobs_make_a_check_each_time(bench: TickedWorld) -> None:
    batch = bench.batch(DONE)
    assert [bench.find(batch) for _ in range(3)] == [[None]] * 3
    assert bench.back_end.calls == {"squeue": 3, "scontrol": 3}


def test_an_empty_queue_of_another_cluster_is_no_answer_however_lately_ours_has_answered(bench: TickedWorld) -> None:
    batch = bench.batch(DONE)
    assert bench.find(batch) == [None]
    for program in ("squeue", "scontrol"):
        bench.faulty.inject(program, Fault.OTHER_CLUSTER, every=1)
    with pytest.raises(BackEndUnavailable, match="'another' answers for another cluster"):
        bench.find(batch)


def test_nothing_is_sent_to_another_cluster(bench: TickedWorld) -> None:
    now_seconds = [0.0]
    shell = LocalShell(bench.cluster.environment | {"PATH": bench.faulty.path})
    back_end = SlurmBackEnd(shell, bench.site, clock=lambda: now_seconds[0])
    assert back_end.largest_batch
    bench.faulty.inject("scontrol", Fault.OTHER_CLUSTER, every=1)
    now_seconds[0] = 60
    back_end.submit(bench.batch(DONE))
    now_seconds[0] = 60.1
    with pytest.raises(SubmissionPostponed, match="'another' answers for another cluster"):
        back_end.submit(bench.batch(DONE))
    assert back_end.calls["sbatch"] == 1


def test_of_a_batch_that_was_sent_twice_the_living_job_is_the_one(bench: TickedWorld) -> None:
    batch = bench.batch(ASLEEP)
    first = bench.back_end.submit(batch)
    for request in batch.requests:  # a job that runs has not claimed at once, and the second one would
        eventually((request.attempt_directory / "claim" / "owner.json").exists)
    second = bench.back_end.submit(batch)
    bench.cluster.run("scancel", first)
    eventually(lambda: second in bench.cluster.run("squeue", "-h", "-t", "CD", "-o", "%F").stdout)
    job = only(bench.find(batch))  # the claim was taken: the second one ended at once, with nothing to explain
    assert job.job_id.startswith(f"{first}_")


def test_while_the_accounting_is_down_nothing_is_reported_and_nothing_fails(bench: TickedWorld) -> None:
    batch = bench.batch(DONE)
    job_id = bench.back_end.submit(batch)
    with bench.cluster.without("slurmdbd"):
        assert bench.back_end.endings(sent(batch, job_id)) == {}
    assert bench.back_end.calls["sacct"] == 1


def test_accounts_of_another_cluster_or_name_are_not_ours(bench: TickedWorld) -> None:
    batch = bench.batch(DONE)
    job_id = bench.back_end.submit(batch)
    eventually(partial(bench.back_end.endings, sent(batch, job_id)))
    [ending] = bench.back_end.endings(sent(batch, job_id)).values()
    assert ending.failure is FailureClass.LOST
    stranger = replace(sent(batch, job_id)[0], batch_key="of-another-database")
    assert bench.back_end.endings([stranger]) == {}
    assert bench.back_end.endings(sent(batch)) == {}


def test_a_cluster_without_accounting_says_so_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = SlurmCluster(nodes=1, accounting=False)
    try:
        cluster.start()
        bench = TickedWorld(tmp_path, cluster)
        batch = bench.batch(DONE)
        job_id = bench.back_end.submit(batch)
        assert bench.back_end.endings(sent(batch, job_id)) == {}
        assert caplog.text == ""
    finally:
        cluster.remove()
