"""Jobs that vanish, and attempts that ask for more."""

import signal
import time

import psutil
import pytest

from ccat_models.run.retry import escalate
from ccat_models.tables.execution import AttemptState, FailureClass
from resources.backend import Sent
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.faults.moments import watched
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld


def kill_wrappers(bench: TickedWorld) -> None:
    keys = [Sent(attempt.submission_key) for attempt in bench.attempts()]
    for job in bench.local.find(keys).values():
        process = psutil.Process(int(job.job_id))
        process.send_signal(signal.SIGKILL)
    while bench.local.find(keys):
        pass


def test_a_lost_job_is_tried_again_in_a_directory_of_its_own(bench: TickedWorld) -> None:
    bench.declare("a", seconds=1, retries={**NO_RETRIES, "lost": 1})
    bench.works.request()
    bench.until(lambda: bool(bench.called()))
    bench.tick()
    (first,) = bench.directories()
    owner = (first / "claim" / "owner.json").read_text()
    kill_wrappers(bench)
    bench.tick()
    bench.tick(1.0)
    assert bench.attempts()[0].state is AttemptState.RUNNING, "it may still turn up"
    bench.tick(0.1)
    lost, retry = bench.attempts()
    assert (lost.state, lost.failure_class) == (AttemptState.ENDED, FailureClass.LOST)
    assert (lost.failure_message or "").endswith("it had begun")
    assert retry.submission_key != lost.submission_key
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1, "scan-0 2": 1}
    assert (first / "claim" / "owner.json").read_text() == owner
    assert not (first / "result.json").exists()
    assert bench.directories()[1] != first


def test_a_job_that_vanishes_for_a_moment_is_not_lost_later(bench: TickedWorld) -> None:
    bench.declare("a", seconds=60, retries=NO_RETRIES)
    bench.works.request()
    bench.until(lambda: bench.attempts()[0].state is AttemptState.RUNNING)
    real = bench.local
    bench.behind(FakeDoubtfulBackEnd(real, blind=True))
    bench.tick()
    assert bench.attempts()[0].missing_since is not None
    bench.behind(real)
    bench.tick(100)
    assert bench.attempts()[0].missing_since is None
    bench.behind(FakeDoubtfulBackEnd(real, blind=True))
    bench.tick()
    assert bench.statuses() == ["RUNNING"], "the grace period begins anew"
    bench.behind(real)
    kill_wrappers(bench)


def test_a_job_that_begins_at_the_moment_it_is_given_up_is_not_lost(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    real = bench.local
    bench.behind(fake := FakeDoubtfulBackEnd(real, queued=[]))
    bench.works.request()
    bench.tick()
    fake.blind = True
    bench.tick()

    def begin(border: str) -> None:
        if border == "looked at" and fake.queued:
            real.submit(fake.queued.pop())
            while not (bench.directories()[0] / "claim").exists():
                pass

    bench.works.cluster = watched(bench.works.cluster, begin)
    bench.tick(100)
    assert fake.queued == [], "it was given up"
    bench.behind(real)
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1}


@pytest.mark.parametrize("left", ["a result", "nothing"])
def test_a_job_that_had_begun_and_is_held_in_the_queue_again(bench: TickedWorld, left: str) -> None:
    bench.declare("a", retries=NO_RETRIES)
    bench.behind(fake := FakeDoubtfulBackEnd(real := bench.local, queued=[]))
    bench.works.request()
    bench.tick()
    assert fake.queued
    real.submit(fake.queued[0])
    (directory,) = bench.directories()
    while real.find([Sent(attempt.submission_key) for attempt in bench.attempts()]):
        time.sleep(0.02)
    if left == "nothing":
        (directory / "result.json").unlink()
    fake.never = True
    bench.tick()
    assert bench.statuses() == ["COMPLETED" if left == "a result" else "SUBMITTED"]
    assert bench.until_ended() == ["COMPLETED" if left == "a result" else "FAILED"]
    assert bench.run().failure_message == (
        None if left == "a result" else "not in the queue and without a result for 1 s; it had begun"
    )


def test_many_jobs_lost_at_once_are_asked_about_a_hundred_at_a_time(bench: TickedWorld) -> None:
    bench = TickedWorld(bench.works, slots=200)
    bench.declare(*(["a"] * 120), retries=NO_RETRIES)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, queued=[]))
    bench.works.request()
    bench.tick()
    fake.blind = True
    bench.tick()
    assert fake.asked == [], "they may still turn up"
    bench.tick(2)
    assert (fake.asked, bench.statuses().count("FAILED")) == ([100], 100)
    bench.tick()
    assert (fake.asked, bench.statuses().count("FAILED")) == ([100, 20], 120)


def test_timeouts_ask_for_more_time_up_to_a_maximum(bench: TickedWorld) -> None:
    bench.declare(
        "a",
        seconds=60,
        retries={**NO_RETRIES, "timeout": 2},
        resources={"cpus": 1, "memory_gb": 1.0, "time_hours": 0.2 / 3600},
        escalation={"factor": 2.0, "max_time_hours": 0.3 / 3600, "max_memory_gb": 8.0},
    )
    bench.works.request()
    assert bench.until_ended() == ["FAILED"]
    assert bench.run().failure_class is FailureClass.TIMEOUT
    hours = [attempt.resources["time_hours"] * 3600 for attempt in bench.attempts()]
    assert hours == pytest.approx([0.2, 0.3, 0.3])
    assert {attempt.resources["memory_gb"] for attempt in bench.attempts()} == {1.0}


def test_without_escalation_a_retry_asks_for_the_same(bench: TickedWorld) -> None:
    bench.declare("a", seconds=60, retries={**NO_RETRIES, "timeout": 1}, resources={"time_hours": 0.2 / 3600})
    bench.works.request()
    assert bench.until_ended() == ["FAILED"]
    first, second = bench.attempts()
    assert first.resources == second.resources


RESOURCES = {"cpus": 2, "memory_gb": 4.0, "time_hours": 1.0}
ESCALATION = {"factor": 3.0, "max_memory_gb": 10.0, "max_time_hours": 24.0}


@pytest.mark.parametrize(
    ("failure", "changed"),
    [
        (FailureClass.TIMEOUT, {"time_hours": 3.0}),
        (FailureClass.OUT_OF_MEMORY, {"memory_gb": 10.0}),
        (FailureClass.SCIENCE, {}),
        (FailureClass.LOST, {}),
    ],
)
def test_only_what_was_too_little_is_raised(failure: FailureClass, changed: dict[str, float]) -> None:
    assert escalate(failure, RESOURCES, ESCALATION) == RESOURCES | changed
    assert escalate(failure, RESOURCES, None) == RESOURCES


@pytest.mark.parametrize("failure", [failure for failure in FailureClass if failure is not FailureClass.PERMANENT])
def test_each_class_has_a_budget_of_its_own(bench: TickedWorld, failure: FailureClass) -> None:
    other = FailureClass.LOST if failure is not FailureClass.LOST else FailureClass.STAGING
    bench.declare("a", retries={**NO_RETRIES, failure.value: 2, other.value: 1})
    bench.works.request()
    for which, status in ((failure, "PENDING"), (other, "PENDING"), (failure, "PENDING"), (failure, "FAILED")):
        bench.works.fail(failure=which)
        assert bench.statuses() == [status]
    assert [attempt.failure_class for attempt in bench.attempts()] == [failure, other, failure, failure]


def test_a_permanent_failure_is_never_tried_again(bench: TickedWorld) -> None:
    bench.declare("a", retries={"science": 9})
    bench.works.request()
    bench.works.fail(failure=FailureClass.PERMANENT)
    assert bench.statuses() == ["FAILED"]
