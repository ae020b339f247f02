"""Purging: products are marked, their files are removed, then the removal is confirmed.

If a process ends in between, the next one removes the files of the runs that are MARKED. Marked products count as
purged, so that no step reads them while they are removed.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.product.removable import PICKED, Picked
from ccat_models.tables.base import RunId
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import Purge, RunSpace, SpaceState


@dataclass(frozen=True)
class Purpose:
    """How many bytes a purge shall free, who requested it, and why."""

    wanted_bytes: int
    by: str
    reason: str


@dataclass(frozen=True)
class Marked:
    """A run whose products are to be removed; the paths are relative to the data location."""

    run_id: RunId
    purge_id: int | None
    removable_bytes: int
    paths: tuple[str, ...]


def mark(session: Session, location_id: int, chosen: Picked, purpose: Purpose, now: datetime) -> Purge:
    """Mark the products of the chosen runs, in the transaction that chose them; return the purge."""
    check_fits("by", purpose.by, Purge.requested_by)
    check_fits("reason", purpose.reason, Purge.reason)
    purge = Purge(
        data_location_id=location_id,
        requested_by=purpose.by,
        reason=purpose.reason,
        marked_at=now,
        wanted_bytes=purpose.wanted_bytes,
        marked_bytes=chosen.size_bytes,
        marked_runs=chosen.runs,
        finished_at=None if chosen.runs else now,
    )
    session.add(purge)
    session.flush()
    marked = {"state": SpaceState.MARKED, "purge_id": purge.id, "changed_at": now}
    _update(session, sa.update(RunSpace).where(RunSpace.run_id.in_(PICKED)).values(marked))
    _set_copies(session, location_id, PICKED, PhysicalCopyStatus.DELETION_SCHEDULED)
    return purge


def marked_runs(session: Session, location_id: int, *, after: RunId, limit: int) -> list[Marked]:
    """Return the next `limit` marked runs with a number greater than `after`."""
    space = RunSpace
    query = sa.select(space.run_id, space.purge_id, space.removable_bytes).where(
        space.state == SpaceState.MARKED, space.data_location_id == location_id, space.run_id > after
    )
    runs = session.execute(query.order_by(space.run_id).limit(limit)).tuples().all()
    files = (
        sa.select(DataProduct.run_id, Copy.path)
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(
            DataProduct.run_id.in_([run_id for run_id, _, _ in runs]),
            _removable(),
            Copy.data_location_id == location_id,
        )
        .order_by(Copy.path)
    )
    paths: dict[RunId, list[str]] = defaultdict(list)
    for run_id, path in session.execute(files).tuples():
        paths[run_id].append(path)
    return [Marked(run_id, purge_id, size, tuple(paths[run_id])) for run_id, purge_id, size in runs]


def confirm(session: Session, location_id: int, removed: Collection[Marked], now: datetime) -> None:
    """Record that the files of marked runs are removed; it may be called more than once.

    A run that was regenerated and marked by a later purge in the meantime has other files and is left as it is.
    """
    for purge_id in {run.purge_id for run in removed}:
        for ids in chunks([run.run_id for run in removed if run.purge_id == purge_id]):
            _confirm(session, location_id, purge_id, ids, now)
    _finish(session, now)


def record_problem(session: Session, left: Collection[Marked], problem: str) -> None:
    """Record why files of marked runs could not be removed; the runs stay marked."""
    _update(session, sa.update(Purge).where(Purge.id.in_({run.purge_id for run in left})).values(problem=problem))


def _confirm(
    session: Session, location_id: int, purge_id: int | None, run_ids: Collection[RunId], now: datetime
) -> None:
    space = RunSpace
    rest = space.size_bytes - space.removable_bytes
    marked = (space.run_id.in_(run_ids), space.state == SpaceState.MARKED, space.purge_id == purge_id)
    purged = (
        sa.update(space)
        .where(*marked)
        .values(state=SpaceState.PURGED, size_bytes=rest, changed_at=now)
        .returning(space.run_id, space.removable_bytes)
        .execution_options(synchronize_session=False)
    )
    gone = dict(session.execute(purged).tuples().all())
    _set_copies(session, location_id, gone.keys(), PhysicalCopyStatus.DELETED)
    freed = {"freed_bytes": Purge.freed_bytes + sum(gone.values()), "freed_runs": Purge.freed_runs + len(gone)}
    _update(session, sa.update(Purge).where(Purge.id == purge_id).values(freed))


def _finish(session: Session, now: datetime) -> None:
    left = sa.select(RunSpace.purge_id).where(RunSpace.state == SpaceState.MARKED)
    over = (Purge.finished_at.is_(None), Purge.id.not_in(left))
    _update(session, sa.update(Purge).where(*over).values(finished_at=now, problem=None))


def _removable() -> sa.ColumnElement[bool]:
    return DataProduct.type.in_(REMOVABLE_TYPES)


def _set_copies(
    session: Session, location_id: int, run_ids: Collection[RunId] | sa.Select[tuple[RunId]], status: PhysicalCopyStatus
) -> None:
    products = sa.select(DataProduct.id).where(DataProduct.run_id.in_(run_ids), _removable())
    copies = (Copy.data_product_id.in_(products), Copy.data_location_id == location_id)
    _update(session, sa.update(Copy).where(*copies).values(status=status))


def _update(session: Session, statement: sa.Update) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
