"""Whatever becomes of a reply, a program is executed once."""

import pytest
import sqlalchemy as sa

from ccat_models.tables import Base
from ccat_models.tables.execution import AttemptState, FailureClass
from resources.backend import Batch, JobRequest, Shape
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld


def rows(bench: TickedWorld) -> dict[str, list[object]]:
    with bench.works.cluster.ops_db.read() as session:
        tables = [table for table in Base.metadata.sorted_tables if table.name != "observer_lease"]
        return {table.name: [tuple(row) for row in session.execute(sa.select(table))] for table in tables}


def test_a_lost_reply_to_an_accepted_submission_runs_it_once(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1))
    bench.works.request()
    bench.tick()
    assert {attempt.state for attempt in bench.attempts()} == {AttemptState.SENDING}
    assert bench.until_ended() == ["COMPLETED", "COMPLETED"]
    assert len(fake.sent) == 2
    assert bench.called() == {"scan-0 1": 1, "scan-1 1": 1}


def test_a_lost_reply_to_a_submission_that_waits_in_the_queue_sends_nothing_again(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, queued=[]))
    bench.works.request()
    bench.tick()
    bench.tick(100)
    assert (len(fake.sent), bench.statuses()) == (1, ["SUBMITTED"])
    fake.start_queued()
    assert bench.until_ended() == ["COMPLETED"]
    assert bench.called() == {"scan-0 1": 1}


def test_a_lost_submission_is_sent_again_once_the_doubt_has_lasted(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1, arrives=False))
    bench.works.request()
    bench.tick()
    bench.tick(1.0)
    assert len(fake.sent) == 1, "not before resend_after has passed"
    bench.tick(0.1)
    assert bench.until_ended() == ["COMPLETED"]
    assert fake.sent == [bench.attempts()[0].submission_key] * 2
    assert bench.called() == {"scan-0 1": 1}


def test_a_job_that_arrives_after_it_was_sent_again_finds_the_claim(bench: TickedWorld) -> None:
    bench.declare("a")
    local = bench.local
    bench.behind(FakeDoubtfulBackEnd(local, doubts=1, arrives=False))
    bench.works.request()
    late = bench.works.cluster.backend
    bench.tick()
    assert bench.until_ended() == ["COMPLETED"]
    attempt = bench.attempts()[0]
    request = JobRequest(attempt.submission_key, bench.directories()[0])
    late.submit(Batch(attempt.batch_key or "", Shape(1, 1.0, None), [request]))
    while local.capacity() < 4:
        pass
    assert bench.called() == {"scan-0 1": 1}


def test_refusals_spend_the_budget_of_infrastructure(bench: TickedWorld) -> None:
    bench.declare("a", retries={**NO_RETRIES, "infrastructure": 1})
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, refusals=5))
    bench.works.request()
    bench.tick()
    assert bench.statuses() == ["PENDING"]
    bench.tick(0.9)
    assert len(fake.sent) == 1, "the retry waits for a second"
    bench.tick(0.1)
    assert bench.statuses() == ["FAILED"]
    assert len(set(fake.sent)) == len(fake.sent) == 2, "each attempt has its own key"
    run = bench.run()
    assert (run.failure_class, run.failure_message) == (FailureClass.INFRASTRUCTURE, "the account has expired")
    assert bench.called() == {}


@pytest.mark.parametrize("in_doubt", [True, False])
def test_no_answer_changes_nothing(bench: TickedWorld, in_doubt: bool) -> None:
    bench.declare("a", seconds=0 if in_doubt else 1)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local, doubts=1 if in_doubt else 0))
    bench.works.request()
    bench.tick()
    before = rows(bench)
    for _ in range(3):
        fake.silences = 1
        assert bench.tick(10)
        assert rows(bench) == before
    assert bench.until_ended() == ["COMPLETED"]


def test_jobs_in_doubt_keep_their_places(bench: TickedWorld) -> None:
    bench.declare(*"abcdef")
    bench.behind(FakeDoubtfulBackEnd(bench.local, doubts=1, arrives=False))
    bench.works.request()
    bench.tick()
    bench.tick(0.1)
    assert bench.statuses() == ["STAGING_DATA"] * 4 + ["PENDING"] * 2, "there are four slots"
    assert set(bench.until_ended()) == {"COMPLETED"}
    assert set(bench.called().values()) == {1}
    assert {key.rpartition(" ")[2] for key in bench.called()} == {"1"}, "none was refused for want of a slot"
