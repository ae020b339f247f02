import pytest
import sqlalchemy as sa

from ccat_assets.dagit.partitions import KEYS_IN_ONE_CALL, sync_partitions
from ccat_models.tables.pipelines import Partitioning, SubGroup
from tests.support.worlds.in_dagster import DagsterWorld
from tests.support.worlds.observatory import NOON

pytestmark = pytest.mark.slow

OBSERVATIONS, SOURCES = "ccat_letters-data:executed_obs_unit", "ccat_letters-data:source"


def test_dagster_gets_the_keys_it_lacks(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a", "b", "c")
    lab.run_without_dagster()
    with lab.application.ops_db.read() as session:
        assert sync_partitions(lab.instance, session) == 5
        assert sync_partitions(lab.instance, session) == 0
    assert lab.instance.get_dynamic_partitions(OBSERVATIONS) == [f"executed_obs_unit=scan-{n}" for n in range(3)]
    assert lab.instance.get_dynamic_partitions(SOURCES) == ["source=source-1", "source=source-2"]
    lab.observatory.scan(3)
    lab.run_without_dagster()
    with lab.application.ops_db.read() as session:
        assert sync_partitions(lab.instance, session) == 1


def test_keys_whose_packages_are_gone_stay(lab: DagsterWorld) -> None:
    lab.declare("a", "b")
    lab.run_without_dagster()
    lab.refresh()
    lab.observatory.withdraw(0)
    lab.refresh()
    assert len(lab.instance.get_dynamic_partitions(OBSERVATIONS)) == 2


def test_more_keys_than_dagster_takes_at_once(lab: DagsterWorld) -> None:
    lab.declare("a")
    with lab.application.ops_db.write() as session:
        here = session.scalars(sa.select(Partitioning).where(Partitioning.group_by == "source")).one().id
        cell = {"partitioning_id": here, "dimensions": {}, "created_at": NOON}
        count = KEYS_IN_ONE_CALL + 5
        session.execute(sa.insert(SubGroup), [cell | {"key": f"k{n}", "natural_key": f"{n}"} for n in range(count)])
    with lab.application.ops_db.read() as session:
        assert sync_partitions(lab.instance, session) == count
    assert len(lab.instance.get_dynamic_partitions(SOURCES)) == count
