"""Events of runs that ended reach a receiver: in order, at least once, and nothing waits for one that is away."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from ccat_assets.dagit.build import build
from ccat_assets.dagit.snapshot import Snapshot
from ccat_assets.provenance.openlineage import events_by_run, run_uuid
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import Settings
from ccat_models.run.endings import endings_after
from ccat_models.tables.execution import FailureClass
from resources.openlineage import OpenLineageReceiver
from resources.ops_db import OpsDb
from sensors.openlineage import Cursor, openlineage_sensor
from tests.support.parts.openlineage import Receiver, receiver
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, step


@pytest.fixture
def received() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give three scans that can be read."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(3):
        works.observatory.scan(number)
    works.declare(step("read", retries={**NO_RETRIES, "infrastructure": 1}))
    works.request()
    return works


class Ticks:
    """The sensor with its cursor as the last tick that was not cut short left it."""

    def __init__(self, works: ManualWorld, url: str, api_key: str | None = None) -> None:
        events_of = partial(events_by_run, "ccat")
        there = OpenLineageReceiver(url, api_key)
        self._sensor = openlineage_sensor(lambda: works.cluster.ops_db, there, events_of, works.cluster.clock)
        self.cursor: str | None = None

    def tick(self, *, dies: bool = False) -> str:
        context = dg.build_sensor_context(cursor=self.cursor)
        skipped = self._sensor(context)
        self.cursor = self.cursor if dies else context.cursor
        assert isinstance(skipped, dg.SkipReason)
        return skipped.skip_message or ""


def ends(received: Receiver) -> list[tuple[str, str]]:
    return [(run, kind) for run, kind in received.ends if kind != "START"]


def test_runs_are_reported_in_the_order_in_which_they_ended(works: ManualWorld, received: Receiver) -> None:
    first, second, third = works.in_flight()
    ticks = Ticks(works, f"{received.url}/ours", "sesame")
    assert ticks.tick() == "no run has ended"
    works.complete(third)
    works.cancel(first)
    assert ticks.tick() == "the events of 2 runs were sent"
    works.fail(second)
    ticks.tick()
    assert ends(received) == [(uuid(third), "COMPLETE"), (uuid(first), "ABORT"), (uuid(second), "FAIL")]
    assert set(received.authorisations) == {"Bearer sesame"}
    assert received.paths == {"/ours/api/v1/lineage"}
    assert ticks.tick() == "no run has ended"


def test_a_failure_that_is_tried_again_is_no_end(works: ManualWorld, received: Receiver) -> None:
    first = works.in_flight()[0]
    ticks = Ticks(works, received.url)
    works.fail(first, failure=FailureClass.INFRASTRUCTURE)
    assert ticks.tick() == "no run has ended"
    works.complete(first)
    ticks.tick()
    assert ends(received) == [(uuid(first), "COMPLETE")]


def test_events_sent_before_a_crash_are_sent_again_and_none_is_lost(works: ManualWorld, received: Receiver) -> None:
    first, second, _ = works.in_flight()
    ticks = Ticks(works, received.url)
    works.complete(first)
    ticks.tick(dies=True)
    works.complete(second)
    ticks.tick()
    assert ends(received) == [(uuid(first), "COMPLETE"), (uuid(first), "COMPLETE"), (uuid(second), "COMPLETE")]
    assert received.events[:2] == received.events[2:4], "the receiver can recognise that it has them"


def test_a_receiver_that_is_away_holds_nothing_up(works: ManualWorld, received: Receiver) -> None:
    runs = works.in_flight()
    works.complete(*runs)
    ticks = Ticks(works, received.url)
    received.refuses_after = 3
    assert "503" in ticks.tick()
    assert ends(received) == [(uuid(runs[0]), "COMPLETE")]
    received.refuses_after = None
    assert ticks.tick() == "the events of 2 runs were sent"
    assert [run for run, kind in ends(received)] == [uuid(run) for run in runs]
    unreachable = Ticks(works, "http://127.0.0.1:9")
    begun = time.monotonic()
    assert "ConnectionError" in unreachable.tick()
    assert time.monotonic() - begun < 5
    assert unreachable.cursor is None


def test_the_cursor_stays_short_and_forgets_nothing(works: ManualWorld, received: Receiver) -> None:
    ticks = Ticks(works, received.url)
    lengths = []
    for run in works.in_flight():
        works.complete(run)
        ticks.tick()
        works.observatory.clock.pass_seconds(3600)
        lengths.append(len(ticks.cursor or ""))
    assert lengths[-1] <= lengths[0] + 5
    assert len(ends(received)) == 3


def test_a_change_that_is_committed_late_is_reported_too(works: ManualWorld, received: Receiver) -> None:
    first, second, _ = works.in_flight()
    works.complete(first, second)
    with works.cluster.ops_db.read() as session:
        late, early = endings_after(session, 0, published=[], limit=9)
    ticks = Ticks(works, received.url)
    ticks.cursor = Cursor(also={early.change_id: early.at}).model_dump_json()
    works.observatory.clock.pass_seconds(60)
    ticks.tick()
    assert ends(received) == [(uuid(late.run_id), "COMPLETE")]


def test_it_is_off_until_a_receiver_is_named(tmp_path: Path) -> None:
    off = Settings(home=tmp_path)
    on = Settings(home=tmp_path, openlineage_url="http://lineage.example.org", openlineage_api_key="sesame")
    named = [{sensor.name for sensor in build(Snapshot(), Application(one)).sensors or ()} for one in (off, on)]
    assert named[1] - named[0] == {"openlineage"}
    assert "sesame" not in repr(OpenLineageReceiver("http://lineage.example.org", "sesame"))


@pytest.mark.parametrize("url", ["lineage.example.org", "ftp://lineage.example.org", "http://", "http://ada:word@host"])
def test_an_address_that_cannot_be_one_or_holds_a_secret_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="openlineage_url") as refused:
        Settings(home=tmp_path, openlineage_url=url)
    assert url not in str(refused.value), "a traceback shows nothing of it"


def test_an_event_that_is_rejected_keeps_no_other_back(
    works: ManualWorld, received: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = works.in_flight()
    received.answers = {uuid(second): 422}
    works.complete(first, second)
    ticks = Ticks(works, received.url)
    assert ticks.tick() == "the events of 2 runs were sent; rejected events so far: 2, see the log"
    assert caplog.text.count("rejected, and not sent again: ") == 2
    assert f"run {uuid(second)} COMPLETE: " in caplog.text
    works.complete(third)
    received.answers = {}
    assert ticks.tick() == "the events of 1 runs were sent; rejected events so far: 2, see the log"
    assert ends(received) == [(uuid(first), "COMPLETE"), (uuid(third), "COMPLETE")]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_an_event_refused_for_another_reason_than_its_content_is_sent_again(
    works: ManualWorld, received: Receiver, status: int
) -> None:
    first, second, _ = works.in_flight()
    works.complete(first, second)
    received.answers = {uuid(first): status}
    ticks = Ticks(works, received.url)
    assert f": {status} " in ticks.tick()
    assert (ends(received), ticks.cursor) == ([], None)
    received.answers = {}
    assert ticks.tick() == "the events of 2 runs were sent"


def uuid(run_id: int) -> str:
    return run_uuid("ccat", run_id)
