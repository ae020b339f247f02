"""One row in each table, made from the tables' own descriptions."""

import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ccat_models.tables import Base
from ccat_models.tables.base import UtcDateTime

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
EXAMPLES: dict[type, Any] = {
    bool: True,
    int: 1,
    float: 1.5,
    str: "x",
    uuid.UUID: uuid.UUID(int=1),
    dict: {"a": 1},
}
# What the columns' types do not say: the words that check constraints allow.
WORDS: dict[str, dict[str, Any]] = {
    "source": {"kind": "fixed_source"},
    "data_location": {"storage_type": "disk"},
    "physical_copy": {"kind": "data_product", "raw_data_package_id": None, "raw_data_file_id": None},
    "executed_reduction_step": {"status": "PENDING", "failure_class": "science", "regenerates_run_id": None},
    "reduction_step_revision": {"keep": "days"},
    "run_space": {"state": "REPLACED"},
    "staging_job": {"status": "failed"},
}
# by the migration and by triggers
FILLED_ALREADY = ("run_status_transition", "run_status_history", "package_change", "sub_group_change")


def fill(connection: sa.Connection) -> None:
    """Insert a row with id 1 into each table, and a second run that reads what the first one made."""
    for table in Base.metadata.sorted_tables:
        if table.name not in FILLED_ALREADY:
            if table.name == "run_input_product":
                end_first_run(connection)
                connection.execute(sa.insert(run_table()).values(row(run_table()) | {"id": 2}))
            connection.execute(sa.insert(table).values(row(table) | _second_run(table)))


def row(table: sa.Table) -> dict[str, Any]:
    """Return values for all columns of a table; foreign keys point at rows with id 1."""
    values = {column.key: _example(column) for column in table.columns}
    return values | {key: _as_member(table.c[key], word) for key, word in WORDS.get(table.name, {}).items()}


def run_table() -> sa.Table:
    """Return the table of runs."""
    return Base.metadata.tables["executed_reduction_step"]


def end_first_run(connection: sa.Connection) -> None:
    """Cancel run 1: of a step and sub-group one run at most is in flight."""
    connection.execute(sa.text("UPDATE executed_reduction_step SET status = 'CANCELLED' WHERE id = 1"))


def _second_run(table: sa.Table) -> dict[str, Any]:
    return {"run_id": 2} if table.name == "run_input_product" else {}


def _example(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.Enum):
        return _as_member(column, column.type.enums[0])
    for foreign_key in column.foreign_keys:
        return _example(foreign_key.column)
    if isinstance(column.type, UtcDateTime):
        return NOON
    if isinstance(column.type, sa.String) and column.type.length == 64:
        return "0" * 64
    return EXAMPLES[column.type.python_type]


def _as_member(column: sa.Column[Any], word: Any) -> Any:
    kind = column.type
    return kind.enum_class(word) if isinstance(kind, sa.Enum) and kind.enum_class is not None and word else word
