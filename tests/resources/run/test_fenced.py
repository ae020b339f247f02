"""A process paused for longer than its lease does nothing more once another process has acted."""

import pytest
import sqlalchemy as sa

from ccat_models.run.cancel import request_cancel
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import AttemptState, ObserverLease
from resources.run.executor import Executor
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.faults.moments import watched
from tests.support.worlds.manual import NO_RETRIES
from tests.support.worlds.ticked import TickedWorld

pytestmark = pytest.mark.slow

BORDERS = ("lease taken", "taken up", "directories laid out")


def pause_at(bench: TickedWorld, border: str, *, cancel: bool) -> bool:
    """Pause one executor at a border while another one acts; say whether the first one acted to its end."""
    cluster, waiting = bench.works.cluster, [border]

    def meanwhile(passed: str) -> None:
        if waiting == [passed]:
            waiting.clear()
            bench.works.observatory.clock.pass_seconds(31)
            if cancel:
                with cluster.ops_db.write() as session:
                    request_cancel(session, [RunId(1)], by="ada", now=cluster.clock())
            assert Executor(cluster, holder="elsewhere:1:1:b").tick()

    acted = Executor(watched(cluster, meanwhile), holder="elsewhere:2:2:a").tick()
    assert not waiting, "it never reached the border"
    return acted


@pytest.mark.parametrize("border", BORDERS[1:])
def test_a_run_that_was_cancelled_meanwhile_is_not_sent(bench: TickedWorld, border: str) -> None:
    bench.declare("a", retries=NO_RETRIES)
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local))
    bench.works.request()
    pause_at(bench, border, cancel=True)
    assert (bench.statuses(), fake.sent) == (["CANCELLED"], [])
    assert bench.called() == {}


@pytest.mark.parametrize("border", BORDERS)
def test_attempts_sent_by_another_process_are_not_sent_under_another_key(bench: TickedWorld, border: str) -> None:
    bench.declare("a", "b")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local))
    bench.works.request()
    pause_at(bench, border, cancel=False)
    assert len(fake.sent) == len(fake.batches) + 1 == 2
    assert {attempt.batch_key for attempt in bench.attempts()} == {batch.key for batch in fake.batches}
    assert bench.until_ended() == ["COMPLETED", "COMPLETED"]


def test_the_lease_is_renewed_before_each_batch(bench: TickedWorld) -> None:
    bench.declare(*"abc")
    bench.behind(FakeDoubtfulBackEnd(bench.local, largest=1, seconds_a_call=20, clock=bench.works.observatory.clock))
    bench.works.request()
    expiries = []

    def note(border: str) -> None:
        if border == "sent":
            with bench.works.cluster.ops_db.read() as session:
                expiries.append(session.scalars(sa.select(ObserverLease.expires_at)).one())

    cluster = watched(bench.works.cluster, note)
    assert Executor(cluster, holder="bench").tick(), "60 s of sending, under a lease of 30 s"
    assert len(set(expiries)) == 3
    assert {attempt.state for attempt in bench.attempts()} == {AttemptState.SENT}


def test_a_run_that_is_cancelled_while_it_is_laid_out_is_not_sent(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    bench.behind(fake := FakeDoubtfulBackEnd(bench.local))
    bench.works.request()

    def cancel(border: str) -> None:
        if border == "directories laid out":
            with bench.works.cluster.ops_db.write() as session:
                request_cancel(session, [RunId(1)], by="ada", now=bench.works.cluster.clock())

    Executor(watched(bench.works.cluster, cancel), holder="bench").tick()
    assert fake.sent == [bench.attempts()[1].submission_key]
    assert bench.until_ended() == ["CANCELLED", "COMPLETED"]


def test_a_process_that_lost_its_lease_reports_that_it_did_not_act(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    assert not pause_at(bench, "directories laid out", cancel=False)
    assert bench.until_ended() == ["COMPLETED"]
