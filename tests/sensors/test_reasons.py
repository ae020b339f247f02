from dataclasses import replace

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_models.tables.base import StepId
from ccat_models.tables.gaps import ReasonCount, SubGroupGap
from ccat_models.tables.pipelines import SubGroup
from resources.request.ensure import RequestOptions, ensure_pipeline
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import FakeClock

QUIET = "no reason has changed"


def opened(lab: DagsterWorld, scans: int) -> tuple[Ticks, FakeClock]:
    """Give so many sub-groups, and nothing counted of them."""
    clock = FakeClock()
    lab.application = replace(lab.application, clock=clock)
    lab.declare(*(f"{number}" for number in range(scans)))
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    with lab.application.ops_db.write() as session:
        session.execute(sa.delete(ReasonCount))
        session.execute(sa.delete(SubGroupGap))
    return Ticks(lab, "reasons"), clock


def count(lab: DagsterWorld, step: str, **reasons: int) -> None:
    """Append counts as a look for gaps does."""
    with lab.application.ops_db.write() as session:
        for reason, number in reasons.items():
            step_id = StepId(lab.name(step).step_id)
            session.add(ReasonCount(step_id=step_id, reason=reason, count=number, at=lab.application.clock()))


def gaps(lab: DagsterWorld, step: str, *reasons: str) -> None:
    lanes = {"input_count": 1, "lane_0": 0, "lane_1": 0, "lane_2": 0}
    seen = {"alive": 1, "will_run": 0, "purged": 0, "latest_run_id": 7}
    with lab.application.ops_db.write() as session:
        ids = session.scalars(sa.select(SubGroup.id).where(SubGroup.key.startswith("executed")).order_by(SubGroup.id))
        for sub_group, reason in zip(ids.all(), reasons, strict=True):
            step_id = StepId(lab.name(step).step_id)
            session.add(SubGroupGap(step_id=step_id, sub_group_id=sub_group, reason=reason, **lanes, **seen))


def observed(lab: DagsterWorld, step: str) -> list[dict[str, object]]:
    page = lab.instance.fetch_observations(lab.name(step).asset_key, limit=100, ascending=True)
    events = [record.asset_observation for record in page.records]
    return [
        {name: entry.value for name, entry in event.metadata.items() if isinstance(entry, dg.IntMetadataValue)}
        for event in events
        if event is not None and event.partition is None
    ]


def test_numbers_that_changed_are_noted_once(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    watch, clock = opened(lab, 3)
    assert watch.tick() == QUIET
    count(lab, "read", missing=3)
    count(lab, "clean", waiting_for_upstream=3)
    assert (watch.tick(), watch.tick()) == ("the reasons of 2 steps were published", QUIET)
    clock.pass_seconds(300)
    assert watch.tick() == QUIET
    count(lab, "read", missing=0, in_flight=3)
    assert (watch.tick(), watch.tick()) == ("the reasons of 1 steps were published", QUIET)
    assert observed(lab, "read") == [{"missing": 3}, {"missing": 0, "in_flight": 3}]
    assert observed(lab, "clean") == [{"waiting_for_upstream": 3}]


def test_a_count_that_changes_within_its_minute_is_seen(lab: DagsterWorld) -> None:
    watch, clock = opened(lab, 1)
    count(lab, "read", missing=4)
    clock.pass_seconds(3600)
    watch.tick()
    count(lab, "read", missing=3)
    watch.tick()
    clock.pass_seconds(59)
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(ReasonCount).where(ReasonCount.count == 3).values(count=2))
    assert watch.tick() == "the reasons of 1 steps were published"
    clock.pass_seconds(3600)
    assert (watch.tick(), watch.tick()) == (QUIET, QUIET)
    assert observed(lab, "read") == [{"missing": 4}, {"missing": 3}, {"missing": 2}]


def test_the_first_open_sub_groups_are_named(lab: DagsterWorld) -> None:
    watch, _ = opened(lab, 4)
    gaps(lab, "read", "up_to_date", "retries_exhausted", "in_flight", "cooling_down")
    count(lab, "read", up_to_date=1, retries_exhausted=1, in_flight=1, cooling_down=1)
    watch.tick()
    (record,) = lab.instance.fetch_observations(lab.name("read").asset_key, limit=1).records
    assert record.asset_observation is not None
    table = record.asset_observation.metadata["open_sub_groups"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [row.data for row in table.records] == [
        {"sub_group": "executed_obs_unit=scan-3", "reason": "cooling_down", "latest_run": 7},
        {"sub_group": "executed_obs_unit=scan-1", "reason": "retries_exhausted", "latest_run": 7},
    ]


def test_an_idle_tick_reads_one_row_and_writes_nothing(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, clock = opened(lab, 1)
    count(lab, "read", missing=3)
    clock.pass_seconds(600)
    watch.tick()
    watch.tick()
    cursor = watch.cursor
    monkeypatch.setattr(lab.instance, "report_runless_asset_event", None)
    assert lab.count_queries(watch.tick) == 2  # BEGIN and SELECT
    assert watch.cursor == cursor


def test_a_cursor_of_another_database_publishes_all_anew(lab: DagsterWorld) -> None:
    watch, clock = opened(lab, 1)
    count(lab, "read", missing=3)
    clock.pass_seconds(600)
    watch.tick()
    watch.cursor = (watch.cursor or "").replace('"row":1', '"row":1000').replace('"missing":3', '"missing":9')
    assert (watch.tick(), watch.tick()) == ("the reasons of 1 steps were published", QUIET)
    assert observed(lab, "read") == [{"missing": 3}, {"missing": 3}]
    watch.cursor = "{"
    assert watch.tick() == "the reasons of 1 steps were published"


def test_counts_published_before_a_crash_are_published_again(lab: DagsterWorld) -> None:
    watch, _ = opened(lab, 1)
    count(lab, "read", missing=3)
    watch.tick()
    before = watch.cursor
    assert before is not None
    watch.cursor = None
    assert watch.tick() == "the reasons of 1 steps were published"
    assert watch.cursor == before
