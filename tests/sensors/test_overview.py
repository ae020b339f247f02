from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import overview_key
from resources.request.ensure import RequestOptions, ensure_pipeline
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import FakeClock

pytestmark = pytest.mark.slow

QUIET = "nothing has changed"
PUBLISHED = "the overviews of 1 pipelines were published"


def opened(lab: DagsterWorld) -> tuple[Ticks, FakeClock]:
    """Give a standing pipeline on three scans of which one is bad, all of them run."""
    clock = FakeClock()
    lab.application = replace(lab.application, clock=clock)
    lab.declare("a", "exit 65", "c", mode="standing", trigger="continuous")
    return Ticks(lab, "overview"), clock


def shown(lab: DagsterWorld, pipeline: str | None = "letters") -> list[dict[str, Any]]:
    """Return what was published of a pipeline, or of all, the oldest first; a table as its rows."""
    page = lab.instance.fetch_materializations(overview_key(pipeline), limit=100, ascending=True)
    events = [record.asset_materialization for record in page.records]
    return [{name: plain(entry) for name, entry in event.metadata.items()} for event in events if event is not None]


def plain(value: dg.MetadataValue[Any]) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records]
    return value.value


def test_a_pipeline_is_shown_as_it_is_and_only_when_it_changed(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    watch, clock = opened(lab)
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    assert watch.tick() == PUBLISHED
    assert shown(lab)[-1]["in_flight"] == 3
    assert watch.tick() == QUIET
    lab.run_without_dagster()
    clock.pass_seconds(300)
    assert watch.tick() == PUBLISHED
    overview = shown(lab)[-1]
    assert (overview["in_flight"], overview["failed_in_7_days"], overview["failed/permanent"]) == (0, 1, 1)
    assert [row["products"] for row in overview["steps"]] == [4, 4, 2]
    assert overview["disk_bytes"] > 0
    whole = shown(lab, None)
    assert len(whole) == 2
    (row,) = whole[-1].pop("pipelines")
    assert (row["pipeline"], row["in_flight"], row["failed_in_7_days"], row["products"]) == ("letters", 0, 1, 10)
    for count in ("sub_groups", "up_to_date"):
        assert row[count] == sum(step[count] for step in overview["steps"])
    assert whole[-1] == {name: overview[name] for name in ("in_flight", "failed_in_7_days", "disk_bytes")}
    (failure,) = overview["failures"]
    assert (failure["class"], failure["runs"], failure["newest_run"]) == ("permanent", 1, 2)
    assert "exit code 65" in failure["message"]
    assert "release a version" in failure["remedy"] or "retry" in failure["remedy"]
    assert watch.tick() == QUIET
    clock.pass_seconds(8 * 86400)
    lab.observatory.scan(3, "d")
    lab.run_without_dagster()
    assert watch.tick() == PUBLISHED
    assert shown(lab)[-1]["failed_in_7_days"] == 0, "what failed long ago is not counted"


def test_an_unchanged_overview_is_not_published_again(lab: DagsterWorld) -> None:
    watch, _ = opened(lab)
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    watch.tick()
    watch.cursor = (watch.cursor or "").replace('"status":3', '"status":2')
    assert watch.tick() == PUBLISHED.replace("1", "0")
    assert len(shown(lab)) == 1


def test_the_overview_is_an_asset_of_the_pipelines_group(lab: DagsterWorld) -> None:
    lab.declare("a")
    graph = build(lab.snapshot(), lab.application).resolve_asset_graph()
    node = graph.get(overview_key("letters"))
    assert (node.group_name, node.is_executable, node.parent_keys) == ("letters", False, set())
