"""Tables with one row for each sub-group of a step: `gap_now` for one evaluation, `sub_group_gap` between looks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.reasons import ACTIONABLE
from ccat_models.pipeline.view import StepView
from ccat_models.tables.gaps import SubGroupGap
from ccat_models.temporary import create_empty

GapTable = sa.Table
"""Where gaps are read: `gap_now` or `sub_group_gap`."""

_OWN = sa.MetaData()  # never part of the migrated schema


def _gap_table() -> sa.Table:
    table = SubGroupGap.__table__
    assert isinstance(table, sa.Table)
    return table


sub_group_gap = _gap_table()
gap_now = sa.Table(
    "gap_now",
    _OWN,
    *(
        sa.Column(column.name, column.type, primary_key=column.primary_key, nullable=column.nullable)
        for column in sub_group_gap.columns
    ),
    prefixes=["TEMPORARY"],
)
touched = sa.Table(
    "gap_touched",
    _OWN,
    sa.Column("step_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sub_group_id", sa.BigInteger, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
changed = sa.Table(
    "gap_changed",
    _OWN,
    sa.Column("sub_group_id", sa.BigInteger, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
COLUMNS = [column.name for column in gap_now.columns]


def _touched_of(step: StepView) -> sa.Select[tuple[int]]:
    return sa.select(touched.c.sub_group_id).where(touched.c.step_id == step.step_id)


@dataclass(frozen=True)
class Scope:
    """The table that holds the gaps of upstream steps, and the sub-groups of a step to evaluate; None: all of them."""

    known: sa.Table
    only: Callable[[StepView], sa.Select[tuple[Any]]] | None = None

    def cut(self, partitioning_id: sa.SQLColumnExpression[int], step: StepView) -> sa.ColumnElement[bool]:
        """Return the condition that a row is of the step's partitioning; no index is used if few rows are wanted."""
        # Without statistics SQLite expects fewer rows of a whole partitioning than of a few sub-groups.
        return (partitioning_id if self.only is None else partitioning_id + 0) == step.partitioning_id

    def of(self, step: StepView, sub_group_id: sa.SQLColumnExpression[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that a sub-group of the step is to be evaluated."""
        return sa.true() if self.only is None else sub_group_id.in_(self.only(step))


EVERYTHING = Scope(gap_now)
WHOLE_STEP = Scope(sub_group_gap)
TOUCHED = Scope(sub_group_gap, _touched_of)


def is_actionable(known: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a run is to be created now for a row of the table."""
    return sa.and_(known.c.alive == 1, known.c.reason.in_([reason.value for reason in ACTIONABLE]))


def start(session: Session) -> None:
    """Create the temporary tables of this session's connection, empty."""
    create_empty(session, gap_now, touched, changed)
