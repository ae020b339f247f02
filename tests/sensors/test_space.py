from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import space_key, step_key
from ccat_assets.wiring.settings import Settings
from ccat_models.product.copies import select_named
from ccat_models.product.pins import unpin
from resources.space.purging import pin, purge
from tests.support.hands.ticks import Ticks
from tests.support.programs.letters import pipeline_yaml, write_program
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import FakeClock

pytestmark = pytest.mark.slow

QUIET = "nothing has changed"
PUBLISHED = "the used space was published"


def opened(lab: DagsterWorld, **settings: Any) -> tuple[Ticks, FakeClock]:
    """Give a pipeline that leaves intermediate products, run on two scans, and its sensor."""
    clock, kept = FakeClock(), lab.application.settings
    lab.application = replace(lab.application, clock=clock)
    for number in range(2):
        lab.observatory.scan(number)
    lab.observatory.declare(pipeline_yaml(lab.calls), write_program(lab.code))
    lab.run_without_dagster()
    lab.application = replace(lab.application, settings=Settings(**kept.model_dump() | settings))
    clock.pass_seconds(3600)
    return Ticks(lab, "space"), clock


def numbers(event: dg.AssetMaterialization | dg.AssetObservation | None) -> dict[str, Any]:
    assert event is not None
    return {name: entry.value for name, entry in event.metadata.items() if isinstance(entry.value, int)}


def used(lab: DagsterWorld) -> list[dict[str, Any]]:
    """Return what was published of the location, the oldest first."""
    page = lab.instance.fetch_materializations(space_key("local"), limit=100, ascending=True)
    return [numbers(record.asset_materialization) for record in page.records]


def observed(lab: DagsterWorld, step: str) -> list[dg.AssetObservation]:
    page = lab.instance.fetch_observations(step_key("letters", step), limit=100, ascending=True)
    return [record.asset_observation for record in page.records if record.asset_observation is not None]


def test_used_space_and_purged_runs_are_published_once(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    watch, clock = opened(lab)
    assert [watch.tick(), watch.tick()] == [PUBLISHED, QUIET]
    (first,) = used(lab)
    assert first["used_bytes"] > first["products_bytes"] > first["removable_bytes"] > 0
    assert numbers(observed(lab, "read")[0])["purge_would_remove_runs"] == 2
    assert numbers(observed(lab, "join")[0])["purge_would_free_bytes"] == 0
    purge(lab.application.cluster, 10**12, by="test", reason="to see it")
    assert [watch.tick(), watch.tick(), watch.tick()] == [PUBLISHED, QUIET, QUIET]
    purged = observed(lab, "read")[1:]
    assert {event.partition for event in purged} == {f"executed_obs_unit=scan-{number}" for number in range(2)}
    assert purged[0].description == "purged: to see it; regenerated when a run needs it, or by `ccat regenerate`"
    assert [numbers(event)["purged_bytes"] for event in purged] == [14, 14]
    assert len(used(lab)) == 1, "numbers are published every ten minutes"
    clock.pass_seconds(600)
    assert [watch.tick(), watch.tick()] == [PUBLISHED, QUIET]
    clock.pass_seconds(600)
    assert watch.tick() == QUIET, "what has not changed is not published again"
    second = used(lab)[1]
    assert (second["purged_runs"], second["removable_bytes"]) == (4, 0)
    assert second["gone_bytes"] == first["removable_bytes"]
    assert numbers(observed(lab, "clean")[-1])["purged_runs"] == 2


def test_room_is_made_above_the_high_watermark(lab: DagsterWorld) -> None:
    watch, _ = opened(lab, space_limit="100 B", space_high="90 %", space_low="10 %")
    assert watch.tick().endswith(" bytes were freed")
    assert used(lab)[0]["removable_bytes"] == 0
    assert watch.tick() == QUIET
    assert [len(observed(lab, step)) for step in ("read", "clean", "join")] == [3, 3, 1]


def test_a_purge_that_can_remove_nothing_is_tried_less_and_less_often(lab: DagsterWorld) -> None:
    """Above the high watermark: what is decided each time holds up every request for runs."""
    watch, clock = opened(lab, space_limit="100 B", space_high="90 %")
    names = [f"letters/{step}/executed_obs_unit=scan-{number}" for step in ("read", "clean") for number in range(2)]
    pin(lab.application.cluster, names, reason="mine", by="test")
    tried = list[int]()
    with deciding(lab) as decisions:
        for minute in range(240):
            before = len(decisions)
            watch.tick()
            tried += [minute] if len(decisions) > before else []
            clock.pass_seconds(60)
    assert tried == [0, 2, 6, 14, 30, 62, 122, 182]
    with lab.application.ops_db.write() as session:
        unpin(session, select_named(session, names[:1]), by="test", now=clock())
    clock.pass_seconds(3600)
    assert watch.tick().endswith(" bytes were freed")


@contextmanager
def deciding(lab: DagsterWorld) -> Iterator[list[str]]:
    """Collect the decisions about what is to be removed."""
    statements, engine = list[str](), lab.application.ops_db.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.extend([statement] if "INSERT INTO purge_picked" in statement else [])

    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def test_the_location_is_an_asset(lab: DagsterWorld) -> None:
    opened(lab)
    graph = build(lab.snapshot(), lab.application).resolve_asset_graph()
    node = graph.get(space_key("local"))
    assert (node.group_name, node.is_executable) == ("space", False)
