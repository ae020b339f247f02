from dataclasses import replace

import pytest
import sqlalchemy as sa

from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.names import raw_key
from ccat_assets.dagit.partitions import hide_partitions, sync_partitions
from ccat_assets.dagit.publish import publish_ended
from ccat_models.sub_group.activity import sights
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroup, SubGroupMember
from resources.request.ensure import RequestOptions, ensure, ensure_pipeline
from tests.support.hands.ticks import Ticks
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import NOON

pytestmark = pytest.mark.slow

OBSERVATIONS, SOURCES = "ccat_letters-data:executed_obs_unit", "ccat_letters-data:source"
DAYS = 86_400


def declare(lab: DagsterWorld, days: int | None, name: str = "letters", **changes: str) -> None:
    text = pipeline_yaml(lab.calls, **changes).replace("name: letters\ndes", f"name: {name}\ndes")
    text = text.replace("mode: ad_hoc\n", "mode: ad_hoc\n" + (f"partition_horizon_days: {days}\n" if days else ""))
    lab.observatory.declare(text, lab.code)


def open_at_noon(lab: DagsterWorld, *scans: int) -> Ticks:
    lab.application = replace(lab.application, clock=lab.observatory.clock)
    for scan in scans:
        lab.observatory.scan(scan)
    return Ticks(lab, "raw_data")


def request(lab: DagsterWorld) -> None:
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))


def keys(lab: DagsterWorld, name: str = OBSERVATIONS) -> set[str]:
    return {key.rpartition("=")[2] for key in lab.instance.get_dynamic_partitions(name)}


def rows_of(lab: DagsterWorld) -> dict[str, int]:
    tables = (SubGroup, SubGroupMember, Run)
    with lab.application.ops_db.read() as session:
        return {
            table.__tablename__: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables
        }


def test_inactive_sub_groups_are_hidden_and_shown_again(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    watch = open_at_noon(lab, 0, 1)
    declare(lab, 10)
    lab.run_without_dagster()
    watch.tick()
    assert (keys(lab), keys(lab, SOURCES)) == ({"scan-0", "scan-1"}, {"source-1", "source-2"})
    held = rows_of(lab)

    lab.observatory.clock.pass_seconds(11 * DAYS)
    watch.tick()
    assert (keys(lab), keys(lab, SOURCES)) == (set(), set())
    assert rows_of(lab) == held

    lab.observatory.scan(10 * 24)  # ten days after the first: of the first's source
    lab.run_without_dagster()
    watch.tick()
    assert (keys(lab), keys(lab, SOURCES)) == ({"scan-240"}, {"source-1"})


def test_a_new_run_brings_its_sub_group_back(lab: DagsterWorld) -> None:
    watch = open_at_noon(lab, 0, 1)
    declare(lab, 10)
    lab.run_without_dagster()
    lab.observatory.clock.pass_seconds(11 * DAYS)
    watch.tick()
    assert keys(lab) == set()
    lab.run_without_dagster()
    assert watch.tick() == "nothing new has arrived"
    ensure(
        lab.application.cluster, "letters", "read", ["executed_obs_unit=scan-1"], RequestOptions(by="test", force=True)
    )
    watch.tick()
    assert keys(lab) == {"scan-1"}
    lab.observatory.clock.pass_seconds(3600)
    watch.tick()
    assert keys(lab) == {"scan-1"}


def test_a_sub_group_is_visible_before_its_run_is_published(lab: DagsterWorld) -> None:
    watch = open_at_noon(lab, 0, 1)
    declare(lab, 10)
    lab.run_without_dagster()
    lab.observatory.clock.pass_seconds(11 * DAYS)
    watch.tick()
    assert keys(lab) == set()
    assert publish_ended(lab.application, lab.instance) == 6
    assert lab.statuses("read") == dict.fromkeys(
        ["executed_obs_unit=scan-0", "executed_obs_unit=scan-1"], "MATERIALIZED"
    )


def test_the_widest_horizon_of_all_pipelines_counts(lab: DagsterWorld) -> None:
    watch = open_at_noon(lab, 0)
    declare(lab, 10)
    declare(lab, 100, "wide")
    with lab.application.ops_db.read() as session:
        assert {sight.since for sight in sights(session, NOON)} == {NOON.replace(year=2025, month=12, day=22)}
    declare(lab, None, "all")
    lab.run_without_dagster()
    lab.observatory.clock.pass_seconds(1000 * DAYS)
    watch.tick()
    assert keys(lab) == {"scan-0"}
    declare(lab, 1, "all")
    declare(lab, 1, "wide")
    lab.observatory.clock.pass_seconds(3600)
    watch.tick()
    assert keys(lab) == set()


def test_only_the_revision_in_force_counts(lab: DagsterWorld) -> None:
    watch = open_at_noon(lab, 0)
    declare(lab, 1)
    lab.run_without_dagster()
    declare(lab, 100, seconds="1")
    lab.observatory.clock.pass_seconds(10 * DAYS)
    watch.tick()
    assert keys(lab) == {"scan-0"}


def test_packages_beyond_the_horizon_are_not_observed(lab: DagsterWorld) -> None:
    watch = open_at_noon(lab, 0)
    declare(lab, 5)
    lab.observatory.clock.pass_seconds(12 * DAYS)
    lab.observatory.scan(11 * 24)
    request(lab)
    watch.tick()
    assert keys(lab) == {"scan-0", "scan-264"}  # both sub-groups are new, whenever their packages came
    raw = lab.instance.fetch_materializations(raw_key("letters-data"), limit=10).records
    assert [record.partition_key for record in raw] == ["executed_obs_unit=scan-264"]


def test_hiding_stops_in_time_and_is_continued(lab: DagsterWorld) -> None:
    open_at_noon(lab, 0, 1, 2)
    declare(lab, 1)
    lab.run_without_dagster()
    seconds = iter([0.0, 0.0, 5.0])
    with lab.application.ops_db.read() as session:
        sync_partitions(lab.instance, session, clock=lab.application.clock)
        lab.observatory.clock.pass_seconds(9 * DAYS)
        budget = Budget(5, passed=lambda: next(seconds))
        assert hide_partitions(lab.instance, session, clock=lab.application.clock, budget=budget) == 1
        assert hide_partitions(lab.instance, session, clock=lab.application.clock) == 4
