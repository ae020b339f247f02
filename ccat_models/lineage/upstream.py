"""Comparing the inputs of two runs, back to the raw packages: by package, and by step for the runs in between."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.lineage.scope import Scope, ancestors
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.products import INPUT_TYPES, DataProduct
from ccat_models.tables.raw_data import RawDataPackage


@dataclass(frozen=True)
class PackagePair:
    """A raw package with the checksum that each side read; None if a side has not read it."""

    name: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class InputsCompared:
    """How many raw packages each side was made from, how many differ, and the first of these by name."""

    left: int
    right: int
    differing: int
    packages: tuple[PackagePair, ...]


@dataclass(frozen=True)
class StepCompared:
    """A step's upstream runs: how many are shared, exist on one side only, or are replaced by another for a sub-group.

    The last three count the replaced ones whose software, parameters and products differ.
    """

    pipeline: str
    step: str
    shared: int
    only_left: int
    only_right: int
    replaced: int
    other_software: int
    other_parameters: int
    other_products: int

    @property
    def same(self) -> bool:
        """Say whether both sides have equal inputs from this step; a repeated run with equal products is equal."""
        return not (
            self.only_left or self.only_right or self.other_software or self.other_parameters or self.other_products
        )


def inputs_compared(session: Session, left: RunId, right: RunId, *, most: int | None = None) -> InputsCompared:
    """Compare the raw packages that two runs were made from, directly or not."""
    sides = [_read(ancestors(left, "left_ancestors"), 0), _read(ancestors(right, "right_ancestors"), 1)]
    read = sa.union_all(*sides).subquery()
    checksums = [sa.func.max(sa.case((read.c.side == side, read.c.checksum))) for side in (0, 1)]
    lowest = [sa.func.min(sa.case((read.c.side == side, read.c.checksum))) for side in (0, 1)]
    both = (
        sa.select(read.c.raw_data_package_id.label("id"), checksums[0].label("left"), checksums[1].label("right"))
        .add_columns(lowest[0].is_distinct_from(lowest[1]).label("lowest_differ"))
        .group_by(read.c.raw_data_package_id)
        .cte("both")
    )
    differs = sa.or_(both.c.left.is_distinct_from(both.c.right), both.c.lowest_differ)
    counts = sa.select(sa.func.count(both.c.left), sa.func.count(both.c.right), sa.func.count(sa.case((differs, 1))))
    listed = (
        sa.select(RawDataPackage.name, both.c.left, both.c.right)
        .join(both, both.c.id == RawDataPackage.id)
        .where(differs)
        .order_by(RawDataPackage.name)
        .limit(most)
    )
    found = tuple(PackagePair(*row) for row in session.execute(listed).tuples())
    on_left, on_right, differing = session.execute(counts).tuples().one()
    return InputsCompared(on_left, on_right, differing, found)


def _read(closure: Scope, side: int) -> sa.Select[Any]:
    link = RunInputPackage
    query = sa.select(link.raw_data_package_id, link.checksum, sa.literal(side).label("side"))
    return query.join(closure, closure.c.run_id == link.run_id)


def steps_compared(session: Session, left: RunId, right: RunId) -> tuple[StepCompared, ...]:
    """Compare, step by step, the runs that two runs were made from, without these two."""
    cells = _cells(left, right)
    one, other = aliased(Run), aliased(Run)
    paired = sa.and_(cells.c.left.is_not(None), cells.c.right.is_not(None))
    query = (
        sa.select(Pipeline.name, ReductionStep.name, sa.func.sum(cells.c.shared))
        .add_columns(_count(cells.c.left.is_not(None), cells.c.right.is_(None)))
        .add_columns(_count(cells.c.left.is_(None), cells.c.right.is_not(None)))
        .add_columns(_count(paired))
        .add_columns(_count(one.software_version_id != other.software_version_id))
        .add_columns(_count(one.config_id != other.config_id))
        .add_columns(_count(paired, sa.or_(_not_in(cells.c.left, cells.c.right), _not_in(cells.c.right, cells.c.left))))
        .select_from(cells)
        .join(ReductionStep, ReductionStep.id == cells.c.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .outerjoin(one, one.id == cells.c.left)
        .outerjoin(other, other.id == cells.c.right)
        .group_by(Pipeline.name, ReductionStep.name, ReductionStep.id)
        .order_by(Pipeline.name, ReductionStep.id)
    )
    return tuple(StepCompared(*row[:2], *map(int, row[2:])) for row in session.execute(query).tuples())


def _cells(left: RunId, right: RunId) -> sa.CTE:
    """Return, by step and sub-group, how many upstream runs are shared, and the newest that one side alone has."""
    sides = [
        sa.select(closure.c.run_id, sa.literal(side).label("side")).where(closure.c.run_id != root)
        for side, root, closure in (
            (0, left, ancestors(left, "left_ancestors")),
            (1, right, ancestors(right, "right_ancestors")),
        )
    ]
    both = sa.union_all(*sides).subquery()
    runs = (
        sa.select(both.c.run_id, sa.func.count().label("sides"), sa.func.min(both.c.side).label("side"))
        .group_by(both.c.run_id)
        .subquery()
    )
    alone = [sa.func.max(sa.case((sa.and_(runs.c.sides == 1, runs.c.side == side), Run.id))) for side in (0, 1)]
    return (
        sa.select(Run.step_id, _count(runs.c.sides == 2).label("shared"))
        .add_columns(alone[0].label("left"), alone[1].label("right"))
        .join(runs, runs.c.run_id == Run.id)
        .group_by(Run.step_id, Run.sub_group_id)
        .cte("cells")
    )


def _count(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((sa.and_(*conditions), 1)))


def _not_in(run: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a run has made an input for later steps that the other run has not made equally."""
    made, there = aliased(DataProduct), aliased(DataProduct)
    same = sa.select(there.id).where(there.run_id == other, there.path == made.path, there.sha256 == made.sha256)
    inputs = sa.select(made.id).where(made.run_id == run, made.type.in_(INPUT_TYPES))
    return inputs.where(sa.not_(same.correlate(made, run.table).exists())).correlate(run.table).exists()
