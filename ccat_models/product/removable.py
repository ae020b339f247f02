"""Choosing which products a purge removes: those of whole runs that nothing keeps, least recently used first.

The choice is stored in a temporary table of the session's connection, because it may be large; only sums are read.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.pipeline.view import last_revisions
from ccat_models.product.kept import Cause, causes, present
from ccat_models.run.made_of import cannot_regenerate_now
from ccat_models.tables.base import RunId, UtcDateTime, total
from ccat_models.tables.pipelines import Pipeline, ReductionStep, ReductionStepRevision
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import RunSpace
from ccat_models.temporary import analyze, create_empty

_SPARE = 8  # one eighth more than wanted is examined, because a second pass costs as much as the first
_AHEAD = 4  # times what was examined in vain is examined next, so that a few passes are enough
_CHECKED_LATER = (Cause.NOT_VERIFIED, Cause.NOT_AGAIN)  # checked only for the runs that would be removed

_picked = sa.Table(
    "purge_picked",
    sa.MetaData(),  # never part of the migrated schema
    # No index: runs are inserted in the order of their last use, and all are read.
    sa.Column("run_id", sa.BigInteger),
    sa.Column("step_id", sa.BigInteger),
    sa.Column("removable_bytes", sa.BigInteger),
    sa.Column("last_used_at", UtcDateTime),
    prefixes=["TEMPORARY"],
)
_COLUMNS = [column.name for column in _picked.columns]
PICKED: sa.Select[tuple[RunId]] = sa.select(_picked.c.run_id)  # the runs of the last `choose` or `pick`


@dataclass(frozen=True)
class Picked:
    """The number of chosen runs, and the bytes of their products."""

    runs: int
    size_bytes: int


@dataclass(frozen=True)
class StepPicked:
    """The chosen runs of a step, and the earliest time of their last use."""

    pipeline: str
    step: str
    runs: int
    size_bytes: int
    oldest_use: datetime


def choose(session: Session, location_id: int, wanted_bytes: int, now: datetime) -> Picked:
    """Choose runs, least recently used first, until removing their products frees `wanted_bytes`.

    It must be called in a request's transaction in which `look` has updated `sub_group_gap`. Less is chosen if there is
    no more to remove.
    """
    _prepare(session)
    looked_at = wanted_bytes + wanted_bytes // _SPARE
    while True:
        session.execute(sa.delete(_picked))
        picked = sa.insert(_picked).from_select(_COLUMNS, oldest(session, location_id, looked_at, now))
        session.execute(picked)
        analyze(session, _picked)
        found = _sums(session)
        chosen = _drop_unfit(session, location_id)
        if chosen.size_bytes >= wanted_bytes:
            return _drop_surplus(session, wanted_bytes)
        if found.size_bytes < looked_at:  # no more runs to examine
            return chosen
        looked_at = wanted_bytes + _AHEAD * (found.size_bytes - chosen.size_bytes)


def pick(session: Session, run_ids: Collection[RunId]) -> Picked:
    """Choose these runs, without checking what keeps them."""
    _prepare(session)
    columns = [getattr(RunSpace, name) for name in _COLUMNS]
    for ids in chunks(run_ids):
        rows = sa.select(*columns).where(RunSpace.run_id.in_(ids))
        session.execute(sa.insert(_picked).from_select(_COLUMNS, rows))
    return _sums(session)


def picked_by_step(session: Session) -> list[StepPicked]:
    """Return the chosen runs, summed by step."""
    query = (
        sa.select(Pipeline.name, ReductionStep.name, sa.func.count())
        .add_columns(total(_picked.c.removable_bytes), sa.func.min(_picked.c.last_used_at))
        .select_from(_picked)
        .join(ReductionStep, ReductionStep.id == _picked.c.step_id)
        .join(Pipeline)
        .group_by(Pipeline.name, ReductionStep.id, ReductionStep.name)
        .order_by(Pipeline.name, ReductionStep.id)
    )
    return [StepPicked(*row) for row in session.execute(query).tuples()]


def oldest(session: Session, location_id: int, wanted_bytes: int, now: datetime) -> sa.Select[Any]:
    """Return the removable runs, least recently used first, up to `wanted_bytes`; in one pass over all runs."""
    space = RunSpace
    size = sa.cast(space.removable_bytes, sa.Double)  # exact up to 9 PB, and twice as fast as whole numbers
    before = sa.func.sum(size).over(order_by=(space.last_used_at, space.run_id), rows=(None, -1))
    rows = (
        sa.select(space.run_id, space.step_id, space.removable_bytes, space.last_used_at, before.label("before"))
        .join(ReductionStepRevision, ReductionStepRevision.step_id == space.step_id)
        .where(ReductionStepRevision.id.in_(last_revisions()), *_is_removable(session, location_id, now))
        .subquery("oldest")
    )
    columns = (rows.c.run_id, rows.c.step_id, rows.c.removable_bytes, rows.c.last_used_at)
    return sa.select(*columns).where(sa.func.coalesce(rows.c.before, 0) < wanted_bytes)


def _is_removable(session: Session, location_id: int, now: datetime) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that nothing keeps a run's products, except the causes that are checked later."""
    kept = causes(session, location_id, now)
    return [*present(location_id), *(sa.not_(kept[cause]) for cause in Cause if cause not in _CHECKED_LATER)]


def _prepare(session: Session) -> None:
    create_empty(session, _picked)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SET LOCAL jit = off"))  # it takes longer to compile the statements than to run them
        session.execute(sa.text("SET LOCAL work_mem = '128MB'"))  # a million runs are sorted by last use


def _drop_unfit(session: Session, location_id: int) -> Picked:
    """Drop chosen runs that may not be removed after all; return the rest."""
    unfit = session.scalars(_unfit(location_id)).all()  # few rows; PostgreSQL can read in parallel, but not delete
    for ids in chunks(unfit):
        session.execute(sa.delete(_picked).where(_picked.c.run_id.in_(ids)))
    return _sums(session)


def _drop_surplus(session: Session, wanted_bytes: int) -> Picked:
    """Drop the most recently used of the chosen runs that are not needed; return the rest."""
    order = (_picked.c.last_used_at, _picked.c.run_id)
    size = sa.cast(_picked.c.removable_bytes, sa.Double)
    before = sa.func.sum(size).over(order_by=order, rows=(None, -1)).label("before")
    rows = sa.select(_picked.c.run_id, before).subquery("in_order")
    surplus = sa.select(rows.c.run_id).where(rows.c.before >= wanted_bytes)
    session.execute(sa.delete(_picked).where(_picked.c.run_id.in_(surplus)))
    return _sums(session)


def _unfit(location_id: int) -> sa.CompoundSelect[tuple[RunId]]:
    """Return the chosen runs that cannot be regenerated now, or have an unverified product."""
    unverified = (Copy.data_product_id.is_not(None), Copy.checksum_verified_at.is_(None))
    bad = (
        sa.select(DataProduct.run_id)
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(*unverified, Copy.data_location_id == location_id, DataProduct.run_id.in_(PICKED))
        .where(DataProduct.type.in_(REMOVABLE_TYPES))
    )
    again = cannot_regenerate_now(PICKED).subquery("not_again")
    return sa.union(bad, sa.select(again.c.run_id))


def _sums(session: Session) -> Picked:
    query = sa.select(sa.func.count(), total(_picked.c.removable_bytes)).select_from(_picked)
    return Picked(*session.execute(query).tuples().one())
