"""What may be removed to make room, and how: marked first, then removed where it lies, then confirmed.

A process that dies in between leaves runs that are MARKED: their files are removed by whoever comes next. Until then
later steps take their products for purged, so that nobody reads what is being removed.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.gap import table
from ccat_models.product.kept import Cause, causes, last_revisions, present
from ccat_models.run.regenerate import not_to_be_made_again
from ccat_models.tables.base import RunId, StepId, UtcDateTime
from ccat_models.tables.pipelines import ReductionStepRevision
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import Purge, RunSpace, SpaceState

_SEEN_LATER = (Cause.NOT_VERIFIED, Cause.NOT_AGAIN)  # of those runs alone that would go


_picked = sa.Table(
    "purge_picked",
    sa.MetaData(),  # never part of the migrated schema
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("step_id", sa.BigInteger),
    sa.Column("removable_bytes", sa.BigInteger),
    sa.Column("last_used_at", UtcDateTime),
    prefixes=["TEMPORARY"],
)
_COLUMNS = [column.name for column in _picked.columns]


class Removable(NamedTuple):
    """A run whose products may be removed."""

    run_id: RunId
    step_id: StepId
    removable_bytes: int
    last_used_at: datetime


@dataclass(frozen=True)
class Purpose:
    """How much room is wanted, by whom and why."""

    wanted_bytes: int
    by: str
    reason: str


@dataclass(frozen=True)
class Marked:
    """A run whose products are to be removed; the paths are relative to the data location."""

    run_id: RunId
    removable_bytes: int
    paths: tuple[str, ...]


def choose(session: Session, location_id: int, wanted_bytes: int, now: datetime) -> list[Removable]:
    """Return the runs whose products to remove for so much room, those that were not used for longest first.

    `sub_group_gap` must stand, in a request's transaction. What is chosen is less where there is no more to remove.
    """
    _prepare(session)
    unfit_bytes, seen = 0, -1
    while True:
        session.execute(sa.delete(_picked))
        picked = sa.insert(_picked).from_select(_COLUMNS, oldest(session, location_id, wanted_bytes + unfit_bytes, now))
        session.execute(picked)
        table.analyze(session, _picked)
        unfit = set(session.scalars(_unfit(location_id)))
        rows = session.execute(sa.select(_picked).order_by(_picked.c.last_used_at, _picked.c.run_id)).tuples().all()
        found = list(map(Removable._make, rows))
        chosen = [one for one in found if one.run_id not in unfit]
        unfit_bytes = sum(one.removable_bytes for one in found if one.run_id in unfit)
        if len(found) == seen or sum(one.removable_bytes for one in chosen) >= wanted_bytes:
            return chosen
        seen = len(found)


def mark(session: Session, location_id: int, chosen: Sequence[Removable], purpose: Purpose, now: datetime) -> Purge:
    """Mark the products of runs for removal, in the transaction that chose them; return the purge."""
    purge = Purge(
        data_location_id=location_id,
        requested_by=purpose.by,
        reason=purpose.reason,
        marked_at=now,
        wanted_bytes=purpose.wanted_bytes,
        marked_bytes=sum(one.removable_bytes for one in chosen),
        marked_runs=len(chosen),
        finished_at=None if chosen else now,
    )
    session.add(purge)
    session.flush()
    for ids in chunks([one.run_id for one in chosen]):
        marked = {"state": SpaceState.MARKED, "purge_id": purge.id, "changed_at": now}
        _update(session, sa.update(RunSpace).where(RunSpace.run_id.in_(ids)).values(marked))
        _set_copies(session, location_id, ids, PhysicalCopyStatus.DELETION_SCHEDULED)
    return purge


def marked_runs(session: Session, location_id: int, *, after: RunId, limit: int) -> list[Marked]:
    """Return the marked runs that follow one, in the order of their numbers, so many at most."""
    space = RunSpace
    query = sa.select(space.run_id, space.removable_bytes).where(
        space.state == SpaceState.MARKED, space.data_location_id == location_id, space.run_id > after
    )
    runs = dict(session.execute(query.order_by(space.run_id).limit(limit)).tuples().all())
    files = (
        sa.select(DataProduct.run_id, Copy.path)
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(DataProduct.run_id.in_(runs), _removable(), Copy.data_location_id == location_id)
        .order_by(Copy.path)
    )
    paths: dict[RunId, list[str]] = defaultdict(list)
    for run_id, path in session.execute(files).tuples():
        paths[run_id].append(path)
    return [Marked(run_id, size, tuple(paths[run_id])) for run_id, size in runs.items()]


def confirm(session: Session, location_id: int, run_ids: Collection[RunId], now: datetime) -> None:
    """Note that the files of marked runs are gone; of several who say so, one is believed."""
    space = RunSpace
    rest = space.size_bytes - space.removable_bytes
    for ids in chunks(run_ids):
        purged = (
            sa.update(space)
            .where(space.run_id.in_(ids), space.state == SpaceState.MARKED)
            .values(state=SpaceState.PURGED, size_bytes=rest, changed_at=now)
            .returning(space.run_id, space.purge_id, space.removable_bytes)
            .execution_options(synchronize_session=False)
        )
        gone = session.execute(purged).tuples().all()
        _set_copies(session, location_id, [run_id for run_id, _, _ in gone], PhysicalCopyStatus.DELETED)
        for purge_id in {purge_id for _, purge_id, _ in gone}:
            sizes = [size for _, of, size in gone if of == purge_id]
            freed = {"freed_bytes": Purge.freed_bytes + sum(sizes), "freed_runs": Purge.freed_runs + len(sizes)}
            _update(session, sa.update(Purge).where(Purge.id == purge_id).values(freed))
    _finish(session, now)


def note_problem(session: Session, run_ids: Collection[RunId], problem: str) -> None:
    """Note why files of marked runs could not be removed; they stay marked."""
    of = sa.select(RunSpace.purge_id).where(RunSpace.run_id.in_(run_ids))
    _update(session, sa.update(Purge).where(Purge.id.in_(of)).values(problem=problem))


def _finish(session: Session, now: datetime) -> None:
    left = sa.select(RunSpace.purge_id).where(RunSpace.state == SpaceState.MARKED)
    over = (Purge.finished_at.is_(None), Purge.id.not_in(left))
    _update(session, sa.update(Purge).where(*over).values(finished_at=now, problem=None))


def oldest(session: Session, location_id: int, wanted_bytes: int, now: datetime) -> sa.Select[Any]:
    """Return the removable runs, least recently used first, until there are enough: one pass over what there is."""
    space, last = RunSpace, last_revisions()
    so_far = sa.func.sum(space.removable_bytes).over(order_by=(space.last_used_at, space.run_id))
    rows = (
        sa.select(space.run_id, space.step_id, space.removable_bytes, space.last_used_at)
        .add_columns((so_far - space.removable_bytes).label("before"))
        .join(last, last.c.step_id == space.step_id)
        .join(ReductionStepRevision, ReductionStepRevision.id == last.c.revision_id)
        .where(*_may_go(session, location_id, now))
        .subquery("oldest")
    )
    columns = (rows.c.run_id, rows.c.step_id, rows.c.removable_bytes, rows.c.last_used_at)
    return sa.select(*columns).where(rows.c.before < wanted_bytes).order_by(rows.c.last_used_at, rows.c.run_id)


def _may_go(session: Session, location_id: int, now: datetime) -> list[sa.ColumnElement[bool]]:
    """Return that nothing keeps a run's products, as far as that can be seen without a look at each."""
    kept = causes(session, location_id, now)
    return [*present(location_id), *(sa.not_(kept[cause]) for cause in Cause if cause not in _SEEN_LATER)]


def _prepare(session: Session) -> None:
    session.execute(sa.text(f"DROP TABLE IF EXISTS {_picked.name}"))
    session.execute(sa.schema.CreateTable(_picked))
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SET LOCAL jit = off"))  # it takes longer to compile the statements than to run them
        session.execute(sa.text("SET LOCAL work_mem = '128MB'"))  # a million runs are sorted by last use


def _unfit(location_id: int) -> sa.CompoundSelect[tuple[RunId]]:
    """Return those of the picked runs that cannot be made again, or of whose products one was not verified."""
    picked = sa.select(_picked.c.run_id)
    unverified = (Copy.data_product_id.is_not(None), Copy.checksum_verified_at.is_(None))
    bad = (
        sa.select(DataProduct.run_id)
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(*unverified, Copy.data_location_id == location_id, DataProduct.run_id.in_(picked), _removable())
    )
    again = not_to_be_made_again(picked).subquery("not_again")
    return sa.union(bad, sa.select(again.c.run_id))


def _removable() -> sa.ColumnElement[bool]:
    return DataProduct.type.in_(REMOVABLE_TYPES)


def _set_copies(session: Session, location_id: int, run_ids: Collection[RunId], status: PhysicalCopyStatus) -> None:
    products = sa.select(DataProduct.id).where(DataProduct.run_id.in_(run_ids), _removable())
    copies = (Copy.data_product_id.in_(products), Copy.data_location_id == location_id)
    _update(session, sa.update(Copy).where(*copies).values(status=status))


def _update(session: Session, statement: sa.Update) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
