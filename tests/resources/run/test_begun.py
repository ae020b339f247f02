"""An attempt that may have begun is not ended as if it had not, whatever happens to its next submission."""

import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.run.cancel import request_cancel
from ccat_models.run.submission import MOST_SENDS
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, AttemptState
from resources.node.store import command
from resources.workspace.store import AttemptStore
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld


def in_a_blind_queue(bench: TickedWorld) -> FakeDoubtfulBackEnd:
    """Let the one attempt be accepted without a reply, and wait in a queue that does not show it."""
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, queued=[]))
    bench.works.request()
    bench.tick()
    fake.blind = True
    return fake


def beginning_after_the_look(bench: TickedWorld, fake: FakeDoubtfulBackEnd) -> None:
    """Let the queued batches begin right after a look for their signs of life."""

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        answer = command.answer(request)
        if request["do"] == "look" and fake.queued:
            queued, fake.queued = fake.queued, []
            for batch in queued:
                fake.real.submit(batch)
            while not all((directory / "claim" / "heartbeat").exists() for directory in bench.directories()):
                time.sleep(0.01)
        return answer

    bench.works.cluster = replace(bench.works.cluster, store=AttemptStore(bench.works.cluster.base, ask))


def test_a_second_sending_that_is_refused_leaves_the_first_one_nothing_to_run(bench: TickedWorld) -> None:
    bench.declare("a", retries={**NO_RETRIES, "infrastructure": 1})
    fake = in_a_blind_queue(bench)
    fake.refusals = 1
    bench.tick(2)
    assert [attempt.state for attempt in bench.attempts()] == [AttemptState.ENDED, AttemptState.INTENDED]
    fake.start_queued()
    fake.blind = False
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 2": 1}


def test_an_attempt_that_cannot_be_prepared_again_leaves_its_first_job_nothing_to_run(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    fake = in_a_blind_queue(bench)
    (bench.works.code / "reduce.py").write_text("changed = 1\n")
    bench.tick(2)
    assert bench.statuses() == ["FAILED"]
    fake.start_queued()
    while fake.real.capacity() < bench.slots:
        time.sleep(0.01)
    assert bench.called() == {}


@pytest.mark.parametrize("trouble", ["refused", "cannot be prepared"])
def test_an_attempt_that_begins_before_its_second_sending_fails_is_accepted(bench: TickedWorld, trouble: str) -> None:
    bench.declare("a", retries=NO_RETRIES)
    fake = in_a_blind_queue(bench)
    fake.refusals = 1
    beginning_after_the_look(bench, fake)
    if trouble == "cannot be prepared":
        (bench.works.code / "reduce.py").write_text("changed = 1\n")
    bench.tick(2)
    fake.blind = False
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1}


def test_an_attempt_that_begins_when_it_is_about_to_be_cancelled_is_ended_like_any_other_job(
    bench: TickedWorld,
) -> None:
    bench.declare("a", seconds=60, retries=NO_RETRIES)
    fake = in_a_blind_queue(bench)
    beginning_after_the_look(bench, fake)
    with bench.works.cluster.ops_db.write() as session:
        request_cancel(session, [RunId(1)], by="ada", now=bench.works.cluster.clock())
    bench.tick(2)
    assert bench.statuses() == ["SUBMITTED"], "it runs"
    fake.blind = False
    assert bench.until_ended() == ["CANCELLED"]
    assert set(fake.cancelled) == {bench.attempts()[0].submission_key}
    assert fake.real.capacity() == bench.slots, "nothing runs any more"


def test_an_attempt_that_begins_when_it_is_about_to_be_given_up_is_accepted(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    fake = in_a_blind_queue(bench)
    beginning_after_the_look(bench, fake)
    with bench.works.cluster.ops_db.write() as session:
        session.execute(sa.update(Attempt).values(sends=MOST_SENDS))
    bench.tick(2)
    fake.blind = False
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1}


def test_a_job_that_will_never_run_and_begins_all_the_same_is_not_lost(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, queued=[], deaf=True))
    bench.works.request()
    bench.tick()
    (directory,) = bench.directories()
    fake.never = True
    (batch,) = fake.queued or []
    fake.real.submit(batch)
    while not (directory / "result.json").exists():
        time.sleep(0.01)
    bench.tick()
    assert bench.statuses() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1}
