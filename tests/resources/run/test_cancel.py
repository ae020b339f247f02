"""Cancelled runs end, unless another requester waits for them or they had already ended."""

import time
from dataclasses import replace

import pytest

from ccat_models.run.cancel import abandon, request_cancel, wait_for
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import FailureClass, RunStatus
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.faults.moments import watched
from tests.support.worlds.ticked import TickedWorld


def cancel(bench: TickedWorld, *runs: int) -> None:
    with bench.works.cluster.ops_db.write() as session:
        request_cancel(session, [RunId(run) for run in runs], by="ada", now=bench.works.cluster.clock())


def test_a_pending_run_is_cancelled_at_once_and_stays_a_closed_gap(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    cancel(bench, 1)
    assert bench.statuses() == ["CANCELLED"]
    bench.tick()
    assert bench.called() == {}
    assert bench.works.reasons("read") == {"scan-0": "retries_exhausted"}


def test_a_running_program_is_ended(bench: TickedWorld) -> None:
    bench.declare("a", seconds=60)
    bench.works.request()
    bench.until(lambda: bool(bench.called()))
    cancel(bench, 1)
    begun = time.monotonic()
    assert bench.until_ended() == ["CANCELLED"]
    assert time.monotonic() - begun < 20
    assert bench.run().cancel_requested_by == "ada"
    assert bench.attempts()[0].finished_at is not None


def test_a_job_that_was_done_before_stays_completed(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    bench.until_written()
    cancel(bench, 1)
    assert bench.until_ended() == ["COMPLETED"]


def test_a_job_that_failed_before_is_not_tried_again(bench: TickedWorld) -> None:
    bench.declare("exit 3", retries={"science": 5})
    bench.works.request()
    bench.until_written()
    cancel(bench, 1)
    assert bench.until_ended() == ["CANCELLED"]
    assert len(bench.attempts()) == 1


def note(bench: TickedWorld, waiter: str, *runs: int) -> None:
    with bench.works.cluster.ops_db.write() as session:
        wait_for(session, [RunId(run) for run in runs], waiter, bench.works.cluster.clock())


def abandon_all_of(bench: TickedWorld, waiter: str) -> list[int]:
    with bench.works.cluster.ops_db.write() as session:
        return sorted(abandon(session, waiter, by=waiter, now=bench.works.cluster.clock()))


def test_only_runs_without_another_waiter_are_abandoned(bench: TickedWorld) -> None:
    bench.declare("a", "b", "c")
    bench.works.request()
    note(bench, "ada", 1, 2)
    note(bench, "bob", 2, 3)
    assert abandon_all_of(bench, "ada") == [1]
    assert bench.statuses() == ["CANCELLED", "PENDING", "PENDING"]
    assert abandon_all_of(bench, "ada") == [], "she is forgotten"
    assert abandon_all_of(bench, "bob") == [2, 3]


@pytest.mark.parametrize(("silent_seconds", "abandoned"), [(59.9, []), (60, [1])])
def test_a_waiter_without_a_heartbeat_for_a_minute_keeps_no_run(
    bench: TickedWorld, silent_seconds: float, abandoned: list[int]
) -> None:
    bench.declare("a")
    bench.works.request()
    note(bench, "bob", 1)
    bench.works.observatory.clock.pass_seconds(silent_seconds)
    note(bench, "ada", 1)
    assert abandon_all_of(bench, "ada") == abandoned


class Interruption:
    """A sleep that is interrupted at its n-th call."""

    def __init__(self, bench: TickedWorld, after: int) -> None:
        self._bench, self._left = bench, after

    def __call__(self, seconds: float) -> None:
        self._bench.works.observatory.clock.pass_seconds(seconds)
        time.sleep(0.02)
        self._left -= 1
        if self._left <= 0 and self._bench.called():
            raise KeyboardInterrupt


def test_an_interruption_ends_runs_that_only_this_requester_waited_for(bench: TickedWorld) -> None:
    bench.declare("a", seconds=60)
    attached = Attached(bench.executor, "ada", 0.1, sleep=Interruption(bench, 1))
    with pytest.raises(KeyboardInterrupt):
        attached.run_pipeline("letters", RequestOptions("ada"))
    assert bench.run().cancel_requested_by == "ada"
    assert bench.until_ended() == ["CANCELLED"], "the lease was given back"


def test_an_interruption_leaves_runs_with_another_waiter(bench: TickedWorld) -> None:
    bench.declare("a", seconds=0.5)
    run = next(iter(bench.works.request()["read"].created.values()))
    note(bench, "bob", run)
    attached = Attached(bench.executor, "ada", 0.1, sleep=Interruption(bench, 1))
    with pytest.raises(KeyboardInterrupt):
        attached.run_pipeline("letters", RequestOptions("ada"))
    assert bench.until_ended() == ["COMPLETED"]


def test_an_interruption_of_the_first_look_ends_the_runs_just_created(bench: TickedWorld) -> None:
    bench.declare("a")

    def interrupt(border: str) -> None:
        if border == "lease taken" and bench.statuses() == [RunStatus.PENDING.value]:
            raise KeyboardInterrupt

    cluster = watched(bench.works.cluster, interrupt)
    attached = Attached(replace(bench.executor, cluster=cluster), "ada", 0.1)
    with pytest.raises(KeyboardInterrupt):
        attached.run_pipeline("letters", RequestOptions("ada"))
    assert bench.statuses() == ["CANCELLED"]


def test_a_job_that_cannot_be_cancelled_does_not_keep_others_from_being_collected(bench: TickedWorld) -> None:
    bench.declare("a", "b", seconds=1)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local))
    bench.works.request()
    bench.until(bench.has(RunStatus.RUNNING, RunStatus.RUNNING))
    fake.deaf = True
    cancel(bench, 1)
    bench.until(lambda: bench.statuses()[1] == "COMPLETED")
    fake.deaf = False
    assert bench.until_ended()[1] == "COMPLETED"


def test_a_job_that_will_never_run_fails_at_once_in_the_back_ends_words_and_leaves_the_queue(
    bench: TickedWorld,
) -> None:
    bench.declare("a")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, queued=[], never=True))
    bench.works.request()
    bench.until(bench.has(RunStatus.FAILED))
    (attempt,) = bench.attempts()
    assert (attempt.failure_class, attempt.evidence) == (FailureClass.PERMANENT, {"reason": "BadConstraints"})
    assert fake.cancelled == [attempt.submission_key]
    fake.start_queued()
    assert (bench.directories()[0] / "claim").is_dir(), "if it were released after all, it would run nothing"
    assert bench.called() == {}
