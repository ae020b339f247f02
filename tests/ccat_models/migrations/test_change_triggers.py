"""Each change that gaps depend on is noted by the database itself, whichever program makes it, and nothing else is."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ccat_models.migrations.change_triggers import AROUND
from ccat_models.tables import Base
from resources.ops_db import OpsDb
from tests.support.hands import rows

ALL_OF_STEP = (None, None, 1, None)
SUB_GROUP = (None, None, 1, 1)
PACKAGE = (1, None, None, None)
PARTITIONING = (None, 1, None, None)
EVERYTHING = (None, None, None, None)
RUN = "executed_reduction_step"

Noted = tuple[int | None, int | None, int | None, int | None]


@pytest.fixture
def connection(ops_db: OpsDb) -> Iterator[sa.Connection]:
    """Give a connection to a database that has a row in each table, and no change to follow."""
    with ops_db.engine.connect() as connection, connection.begin() as transaction:
        rows.fill(connection)
        connection.execute(sa.text("UPDATE pipeline SET revision = 1"))
        connection.execute(sa.text("DELETE FROM executed_reduction_step WHERE id = 3"))
        forget(connection)
        yield connection
        transaction.rollback()


def forget(connection: sa.Connection) -> None:
    for table in ("package_change", "sub_group_change"):
        connection.execute(sa.text(f"DELETE FROM {table}"))


def noted(connection: sa.Connection) -> list[Noted]:
    """Return package, partitioning, step and sub-group of all changes that were noted."""
    packages = connection.execute(sa.text("SELECT raw_data_package_id, partitioning_id FROM package_change"))
    sub_groups = connection.execute(sa.text("SELECT step_id, sub_group_id FROM sub_group_change"))
    found = [(*row, None, None) for row in packages.tuples()] + [(None, None, *row) for row in sub_groups.tuples()]
    return [(one[0], one[1], one[2], one[3]) for one in found]


def update(connection: sa.Connection, table: str, key: int | str = 1, **values: object) -> list[Noted]:
    found = Base.metadata.tables[table]
    (primary_key,) = found.primary_key
    connection.execute(sa.update(found).where(primary_key == key).values(values))
    return noted(connection)


def insert(connection: sa.Connection, table: str, **values: object) -> list[Noted]:
    found = Base.metadata.tables[table]
    connection.execute(sa.insert(found).values(rows.row(found) | values))
    return noted(connection)


def archive(connection: sa.Connection) -> None:
    update(connection, "raw_data_package", state="archived")
    forget(connection)


def test_a_package_is_noted_once_it_is_archived(connection: sa.Connection) -> None:
    assert update(connection, "raw_data_package", state="transferring") == []
    assert update(connection, "raw_data_package", state="archived") == [PACKAGE]
    forget(connection)
    assert update(connection, "raw_data_package", checksum="1" * 64) == [PACKAGE]
    forget(connection)
    assert update(connection, "raw_data_package", state="failed") == [PACKAGE]
    forget(connection)
    assert insert(connection, "raw_data_package", id=2, name="other", state="archived") == [(2, None, None, None)]


def test_an_observation_that_changes_touches_its_archived_packages(connection: sa.Connection) -> None:
    assert update(connection, "executed_obs_unit", name="renamed") == [], "it has none that is archived"
    archive(connection)
    assert update(connection, "executed_obs_unit", name="again") == [PACKAGE]
    forget(connection)
    assert update(connection, "obs_unit", name="renamed") == [PACKAGE]


@pytest.mark.parametrize("table", AROUND)
def test_whatever_packages_refer_to_touches_them_all(connection: sa.Connection, table: str) -> None:
    found = Base.metadata.tables[table]
    column = next(column for column in found.columns if not column.primary_key)
    connection.execute(sa.update(found).values({column: column}))
    assert noted(connection) == [EVERYTHING]


def test_rules_and_cuts_are_noted(connection: sa.Connection) -> None:
    assert update(connection, "data_grouping", filter_rules=[]) == [PARTITIONING]
    forget(connection)
    assert update(connection, "data_grouping", description="other words") == []
    assert insert(connection, "partitioning", id=2, group_by="source") == [(None, 2, None, None)]
    forget(connection)
    assert update(connection, "reduction_step", partitioning_id=2) == [ALL_OF_STEP]
    forget(connection)
    assert insert(connection, "reduction_step", id=2, name="other") == [(None, None, 2, None)]


def test_a_run_is_noted_when_it_comes_and_when_it_ends(connection: sa.Connection) -> None:
    for status in ("STAGING_DATA", "SUBMITTED", "RUNNING"):
        assert update(connection, RUN, 2, status=status) == []
    failed = {"status": "FAILED", "failure_class": "science"}
    assert update(connection, RUN, 2, **failed) == [SUB_GROUP]
    forget(connection)
    assert update(connection, RUN, 2, status="PENDING") == [SUB_GROUP], "it is tried again"
    forget(connection)
    assert update(connection, RUN, 2, status="CANCELLED") == [SUB_GROUP]
    forget(connection)
    assert update(connection, RUN, 2, published_at=rows.NOON) == []
    assert insert(connection, RUN, id=3) == [SUB_GROUP]
    forget(connection)
    assert update(connection, RUN, 3, status="STAGING_DATA") == []
    assert update(connection, RUN, 3, status="SUBMITTED") == []
    assert update(connection, RUN, 3, status="COLLECTING_RESULTS") == []
    assert update(connection, RUN, 3, status="COMPLETED", output_count=0) == [SUB_GROUP]


def test_rerun_requests_and_resets_are_noted(connection: sa.Connection) -> None:
    assert insert(connection, "rerun_request", id=2) == [SUB_GROUP]
    forget(connection)
    assert insert(connection, "circuit_reset", id=2) == [ALL_OF_STEP]


def test_products_that_are_purged_touch_their_producer(connection: sa.Connection) -> None:
    assert update(connection, "run_space", size_bytes=7) == []
    assert update(connection, "run_space", state="PURGED", replaced_by_run_id=None) == [SUB_GROUP]


def test_quality_touches_the_run_of_which_it_speaks(connection: sa.Connection) -> None:
    check = {"id": 2, "name": "other", "superseded_at": None}
    assert insert(connection, "quality_check", **check, blocking=True, passed=True) == []
    assert insert(connection, "quality_check", **check | {"id": 3, "name": "o"}, blocking=False, passed=False) == []
    assert insert(connection, "quality_check", **check | {"id": 4, "name": "b"}, blocking=True, passed=False) == [
        SUB_GROUP
    ]
    forget(connection)
    assert insert(connection, "quality_waiver", id=2, quality_check_id=4) == [SUB_GROUP]
    forget(connection)
    assert update(connection, "quality_check", 4, superseded_at=rows.NOON) == [SUB_GROUP]


def test_a_taint_touches_its_package_and_all_that_has_read_it(connection: sa.Connection) -> None:
    assert insert(connection, "package_taint", id=2, lifted_at=None, lifted_by=None) == [PACKAGE]
    forget(connection)
    assert insert(connection, "run_taint", run_id=2, package_taint_id=2) == [SUB_GROUP]
    forget(connection)
    assert update(connection, "package_taint", 2, lifted_at=rows.NOON, lifted_by="ada") == [PACKAGE, SUB_GROUP]


def test_a_pipeline_is_noted_where_it_counts(connection: sa.Connection) -> None:
    assert update(connection, "pipeline", name="renamed") == []
    assert update(connection, "pipeline", enabled=True) == [], "it was before"
    assert update(connection, "pipeline", enabled=False) == [ALL_OF_STEP]
    forget(connection)
    assert update(connection, "pipeline", revision=2) == [ALL_OF_STEP]


def test_software_touches_the_steps_that_use_it_now(connection: sa.Connection) -> None:
    release = {"id": 2, "version": "1.0.1"}
    assert insert(connection, "reduction_software_version", **release) == [ALL_OF_STEP]
    forget(connection)
    assert update(connection, "reduction_software_version", 2, withdrawn=True) == [ALL_OF_STEP]
    update(connection, "pipeline", revision=2)  # of which there is no step with this software
    forget(connection)
    assert update(connection, "reduction_software_version", 2, withdrawn=False) == []
