from collections import Counter

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.names import raw_key
from ccat_assets.dagit.raw_assets import publish_raw
from ccat_models.tables.raw_data import RawDataPackage
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import NOON

pytestmark = pytest.mark.slow


def observe(lab: DagsterWorld, *, everything: bool = False) -> int:
    lab.refresh()
    with lab.application.ops_db.read() as session:
        return publish_raw(lab.instance, session, everything=everything)


def observations(lab: DagsterWorld, grouping: str = "letters-data") -> list[dg.AssetMaterialization]:
    page = lab.instance.fetch_materializations(raw_key(grouping), limit=100, ascending=True)
    return [record.asset_materialization for record in page.records if record.asset_materialization is not None]


def test_arriving_packages_are_observed_once(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a", "b", "c")
    assert (observe(lab), observe(lab), observe(lab, everything=True)) == (3, 0, 0)
    assert Counter(one.partition for one in observations(lab)) == {f"executed_obs_unit=scan-{n}": 1 for n in range(3)}
    first = observations(lab)[0].metadata
    assert first["arrived"].value == NOON.timestamp()
    assert first["package_count"].value == 1
    packages = first["packages"]
    assert isinstance(packages, dg.TableMetadataValue)
    assert packages.records[0].data["package"] == "scan-0"
    lab.observatory.scan(3)
    assert (observe(lab), observe(lab)) == (1, 0)
    assert observations(lab)[-1].partition == "executed_obs_unit=scan-3"


def test_only_recent_packages_are_looked_at(lab: DagsterWorld) -> None:
    clock = lab.observatory.clock
    lab.declare("a")
    clock.pass_seconds(100 * 3600)
    lab.observatory.scan(100)
    assert observe(lab) == 2
    clock.pass_seconds(-100 * 3600)
    lab.observatory.scan(0, "changed long ago")
    clock.pass_seconds(99 * 3600)
    lab.observatory.scan(99, "late")
    assert observe(lab) == 1
    assert observe(lab, everything=True) == 1
    assert [one.partition for one in observations(lab)][2:] == [f"executed_obs_unit=scan-{n}" for n in (99, 0)]


def test_a_package_that_came_again_is_observed_again(lab: DagsterWorld) -> None:
    lab.declare("a", "b")
    assert observe(lab) == 2
    lab.observatory.scan(1, "other")
    assert (observe(lab), observe(lab)) == (1, 0)
    versions = [
        (one.tags or {})["dagster/data_version"]
        for one in observations(lab)
        if one.partition == "executed_obs_unit=scan-1"
    ]
    assert len(set(versions)) == len(versions) == 2


def test_observations_published_before_a_crash_are_not_published_again(lab: DagsterWorld) -> None:
    lab.declare("a", "b", "c")
    lab.refresh()
    with lab.application.ops_db.read() as session:
        publish_raw(lab.instance, session)
    (_, second, _) = observations(lab)
    with dg.DagsterInstance.ephemeral() as another:
        another.report_runless_asset_event(second)
        lab.instance = another
        assert observe(lab) == 2
        assert len(observations(lab)) == 3


def test_a_grouping_that_is_not_cut_by_observation_has_one_observation(lab: DagsterWorld) -> None:
    lab.declare("a")
    text = pipeline_yaml(lab.calls, name="whole").replace("[executed_obs_unit]", "[]")
    lab.observatory.scan(1)
    lab.observatory.declare(text, lab.code)
    assert observe(lab) == 3
    (one,) = observations(lab, "whole-data")
    assert one.partition is None
    assert one.metadata["package_count"].value == 2
    lab.observatory.scan(2)
    assert (observe(lab), observe(lab)) == (2, 0)


def test_arrival_is_the_time_of_archiving_where_that_is_known(lab: DagsterWorld) -> None:
    lab.declare("a")
    with lab.application.ops_db.write() as session:
        session.execute(sa.update(RawDataPackage).values(archived_at=NOON.replace(year=2027)))
    observe(lab)
    assert observations(lab)[0].metadata["arrived"].value == NOON.replace(year=2027).timestamp()
