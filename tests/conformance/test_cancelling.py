"""A cancelled run ends exactly its own job, and leaves no process behind."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ccat_models.tables.execution import Attempt, AttemptState, RunStatus
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from resources.run.executor import Executor
from tests.support.faults.moments import watched
from tests.support.parts.apptainer import Image
from tests.support.worlds.back_ends import SMALL, BackEndWorld, await_end, is_up, output_of, processes

HOUR = 3600.0


def test_cancelling_one_run_of_many_ends_it_and_nothing_else(yard: BackEndWorld, image: Image | None) -> None:
    yard.work("sleep 300", "sleep 300", "sleep 300", image=image)
    yard.until_up(3)
    attempts = yard.attempts()
    assert all(processes(attempt) for attempt in attempts)
    yard.cancel(2)
    yard.until(yard.has(CANCELLED=1, RUNNING=2))
    await_end(attempts[1])
    assert yard.run(2).status is RunStatus.CANCELLED
    assert all(processes(attempt) for attempt in (attempts[0], attempts[2]))
    if yard.slurm is not None:
        assert yard.queue() == {str(attempts[place].job_id): "RUNNING" for place in (0, 2)}
    yard.cancel(1, 3)
    assert yard.until_ended() == {"CANCELLED": 3}
    for attempt in attempts:
        await_end(attempt)
    assert yard.products(2) == {}


def test_what_is_cancelled_while_it_waits_in_the_queue_never_begins(slurm_yard: BackEndWorld) -> None:
    slurm_yard.work("sleep 300", "sleep 300", "sleep 300", "sleep 300", resources=SMALL | {"cpus": 8})
    slurm_yard.until_up(2)
    assert Counter(slurm_yard.queue().values()) == {"RUNNING": 2, "PENDING": 2}
    slurm_yard.until(lambda: any(attempt.evidence for attempt in slurm_yard.attempts()))
    waiting = next(attempt for attempt in slurm_yard.attempts() if attempt.evidence)
    assert waiting.evidence is not None
    assert (waiting.state, waiting.evidence["waits"]) in [(AttemptState.SENT, why) for why in ("Resources", "Priority")]
    slurm_yard.cancel(waiting.run_id)
    slurm_yard.until(lambda: slurm_yard.run(waiting.run_id).status is RunStatus.CANCELLED)
    assert not is_up(waiting)
    assert not (output_of(waiting).parent / "claim" / "owner.json").exists()
    assert Counter(slurm_yard.queue().values()) == {"RUNNING": 2, "PENDING": 1}
    assert str(waiting.job_id) not in slurm_yard.queue()


@dataclass
class Interrupted:
    """A sleep that is interrupted by Ctrl-C once a condition holds."""

    condition: Callable[[], bool]

    def __call__(self, seconds: float) -> None:
        del seconds
        time.sleep(0.05)
        if self.condition():
            raise KeyboardInterrupt


def all_end_without_an_executor(yard: BackEndWorld, attempts: list[Attempt]) -> None:
    """Check that all processes end without an executor, and that the next executor finds them cancelled."""
    for attempt in attempts:
        await_end(attempt)
    yard.patient(observe_every=0)
    assert set(yard.until_ended()) == {"CANCELLED"}


def test_an_interruption_reaches_the_jobs_however_rarely_the_back_end_is_asked(yard: BackEndWorld) -> None:
    yard.patient(observe_every=HOUR)
    yard.work("sleep 300", "sleep 300")
    up = Interrupted(lambda: sum(map(is_up, yard.attempts())) == 2)
    with pytest.raises(KeyboardInterrupt):
        Attached(Executor(yard.cluster), "ada", 0.05, sleep=up).run_pipeline("letters", RequestOptions("ada"))
    attempts = yard.attempts()
    assert len(attempts) == 2
    all_end_without_an_executor(yard, attempts)


def test_an_interruption_right_after_the_submission_cancels_jobs_not_yet_recorded(yard: BackEndWorld) -> None:
    yard.patient(observe_every=HOUR)
    yard.work("sleep 300", "sleep 300")

    def interrupt(border: str) -> None:
        if border == "sent":
            raise KeyboardInterrupt

    cluster = watched(yard.cluster, interrupt)
    with pytest.raises(KeyboardInterrupt):
        Attached(Executor(cluster), "ada", 0.05).run_pipeline("letters", RequestOptions("ada"))
    all_end_without_an_executor(yard, yard.attempts())
