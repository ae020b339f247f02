from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.run.transitions import LEGAL_TRANSITIONS
from ccat_models.tables import Base
from ccat_models.tables.base import UtcDateTime
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb
from tests.support.hands import rows

RUN = rows.run_table()
LATER = rows.NOON + timedelta(days=1)
NEVER_EDITED = (
    "run_status_history",
    "run_input_package",
    "run_input_product",
    "raw_data_file",
    "quality_waiver",
    "run_taint",
    "pipeline_revision",
    "reduction_step_revision",
    "reduction_step_config",
)
NEVER_DELETED = (
    "run_status_history",
    "run_input_package",
    "run_input_product",
    "raw_data_file",
    "quality_check",
    "quality_waiver",
    "package_taint",
    "run_taint",
)
FIXED = {
    "quality_check": (
        "run_id",
        "name",
        "metric",
        "value",
        "minimum",
        "maximum",
        "blocking",
        "passed",
        "judged_at",
    ),
    "package_taint": ("raw_data_package_id", "reason", "tainted_by", "tainted_at"),
    "data_product": ("run_id", "type", "path", "size_bytes", "sha256"),
    "executed_reduction_step": (
        "step_id",
        "step_revision_id",
        "sub_group_id",
        "software_version_id",
        "config_id",
        "input_count",
        "input_lane_0",
        "input_lane_1",
        "input_lane_2",
    ),
}


@pytest.fixture
def connection(ops_db: OpsDb) -> Iterator[sa.Connection]:
    """Give a connection to a database that has a row in each table; its changes are forgotten."""
    with ops_db.engine.connect() as connection, connection.begin() as transaction:
        rows.fill(connection)
        yield connection
        transaction.rollback()


def refusal_of(connection: sa.Connection, statement: sa.Executable) -> str | None:
    try:
        with connection.begin_nested():
            connection.execute(statement)
    except sa.exc.IntegrityError as error:
        return str(error.orig).partition("\n")[0]
    return None


def path_to(status: RunStatus) -> list[RunStatus]:
    """Return the statuses a run passes through from PENDING, by the shortest way."""
    paths = {RunStatus.PENDING: [RunStatus.PENDING]}
    while status not in paths:
        paths |= {new: [*paths[old], new] for old, new in LEGAL_TRANSITIONS if old in paths and new not in paths}
    return paths[status]


def set_status(status: RunStatus, run_id: int = 2) -> sa.Update:
    return sa.update(RUN).where(RUN.c.id == run_id).values(status=status)


def test_exactly_the_legal_changes_of_status_are_possible(connection: sa.Connection) -> None:
    for old in RunStatus:
        with connection.begin_nested() as attempt:
            for status in path_to(old)[1:]:
                connection.execute(set_status(status))
            for new in RunStatus:
                savepoint = connection.begin_nested()
                refusal = refusal_of(connection, set_status(new))
                savepoint.rollback()
                legal = old is new or (old, new) in LEGAL_TRANSITIONS
                assert refusal == (None if legal else f"illegal change of run status {old.value} -> {new.value}")
            attempt.rollback()


def test_every_change_of_status_is_recorded_with_its_time_and_nothing_else_is(connection: sa.Connection) -> None:
    connection.execute(set_status(RunStatus.STAGING_DATA))
    connection.execute(sa.update(RUN).where(RUN.c.id == 2).values(status=RunStatus.STAGING_DATA, priority=7))
    history = Base.metadata.tables["run_status_history"]
    found = connection.execute(sa.select(history).where(history.c.run_id == 2).order_by(history.c.id)).all()
    assert [(row.from_status, row.to_status, row.at) for row in found] == [
        (None, "PENDING", rows.NOON),
        ("PENDING", "STAGING_DATA", rows.NOON),
    ]


def test_the_record_takes_the_time_of_the_change(connection: sa.Connection) -> None:
    history = Base.metadata.tables["run_status_history"]
    later = rows.NOON.replace(hour=13, microsecond=123456)
    connection.execute(set_status(RunStatus.CANCELLED).values(status_changed_at=later))
    last = sa.select(history.c.at).where(history.c.run_id == 2).order_by(history.c.id.desc()).limit(1)
    assert connection.scalar(last) == later


@pytest.mark.parametrize("status", [status for status in RunStatus if status is not RunStatus.PENDING])
def test_a_run_begins_as_pending(connection: sa.Connection, status: RunStatus) -> None:
    connection.execute(set_status(RunStatus.CANCELLED))
    third = sa.insert(RUN).values(rows.row(RUN) | {"id": 3, "status": status})
    assert refusal_of(connection, third) == "a run begins as PENDING"


@pytest.mark.parametrize("table", NEVER_EDITED)
def test_a_record_is_never_edited(connection: sa.Connection, table: str) -> None:
    for column in Base.metadata.tables[table].columns:
        edited = sa.update(Base.metadata.tables[table]).values({column: column})
        assert refusal_of(connection, edited) == f"{table} is a record, it is never edited"


@pytest.mark.parametrize("table", NEVER_DELETED)
def test_a_record_is_never_deleted(connection: sa.Connection, table: str) -> None:
    deleted = sa.delete(Base.metadata.tables[table])
    assert refusal_of(connection, deleted) == f"{table} is a record, it is never deleted"


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in FIXED for column in FIXED[table]])
def test_what_a_row_is_never_changes(connection: sa.Connection, table: str, column: str) -> None:
    found = Base.metadata.tables[table]
    refusal = refusal_of(connection, sa.update(found).values({column: another_value(found.c[column])}))
    assert refusal is not None
    assert refusal.startswith("what a ")
    assert refusal.endswith("is never edited")


def another_value(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.Boolean):
        return sa.not_(column)
    if isinstance(column.type, UtcDateTime):
        return sa.literal(LATER, UtcDateTime())
    if isinstance(column.type, sa.Integer | sa.Float):
        return column + 1
    return sa.literal("log" if isinstance(column.type, sa.Enum) else "y", sa.String)


@pytest.mark.parametrize(
    ("table", "column"),
    [("executed_reduction_step", "priority"), ("executed_reduction_step", "published_at"), ("data_product", "extra")],
)
def test_what_is_no_record_may_change(connection: sa.Connection, table: str, column: str) -> None:
    found = Base.metadata.tables[table]
    value = {"priority": 99, "published_at": None, "extra": {"seen": True}}[column]
    assert connection.scalar(sa.select(found.c[column]).where(found.c.id == 1)) != value
    connection.execute(sa.update(found).values({column: value}))
    assert connection.scalar(sa.select(found.c[column]).where(found.c.id == 1)) == value


def test_writing_the_same_values_again_is_no_change(connection: sa.Connection) -> None:
    same = {RUN.c[name]: RUN.c[name] for name in ("step_id", "sub_group_id", "config_id", "input_lane_0")}
    assert refusal_of(connection, sa.update(RUN).values(same)) is None
