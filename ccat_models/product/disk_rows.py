"""Reading, in pieces, what is recorded of the files of a processing location, for comparison with the files on disk."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.view import last_revisions
from ccat_models.product.kept import Cause, causes
from ccat_models.raw.staging import STAGED_DIRECTORY, is_staged
from ccat_models.run.made_of import cannot_regenerate_now
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, Purpose, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import ReductionStepRevision
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus, RawDataPackagePhysicalCopy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import RunSpace, SpaceState
from ccat_models.tables.staging import OPEN, StagingJob

_OF_EACH = (Cause.NOT_VERIFIED, Cause.NOT_AGAIN)  # checked for the runs in question only


@dataclass(frozen=True)
class CopyRow:
    """A product's copy at a location, its path relative to that; `changed_at` is when its run was purged.

    `given_up`: the file was found to be missing although its run is not purged.
    """

    id: int
    run_id: RunId
    path: str
    size_bytes: int
    status: PhysicalCopyStatus
    removable: bool
    changed_at: datetime | None
    given_up: bool


@dataclass(frozen=True)
class Bad:
    """The copies of some runs that are missing, or whose size differs."""

    run_ids: Collection[RunId]
    missing: Collection[int]
    different: Collection[int]


@dataclass(frozen=True)
class RunFiles:
    """What is recorded of some runs: copies by path, the runs' states, and which attempts failed."""

    copies: Mapping[str, CopyRow] = field(default_factory=dict)
    statuses: Mapping[RunId, RunStatus] = field(default_factory=dict)
    attempts: Mapping[tuple[RunId, int], bool] = field(default_factory=dict)


def run_files(session: Session, location_id: int, run_ids: Collection[RunId]) -> RunFiles:
    """Return what is recorded of runs, and of the runs they regenerate."""
    runs = session.execute(sa.select(Run.id, Run.status, Run.regenerates_run_id).where(Run.id.in_(run_ids)))
    statuses, owners = {}, set(run_ids)
    for run_id, status, first in runs.tuples():
        statuses[run_id] = status
        owners |= set() if first is None else {first}
    failed = Attempt.failure_class.is_not(None)
    executing = (Attempt.run_id.in_(run_ids), Attempt.purpose == Purpose.EXECUTE)
    attempts = session.execute(sa.select(Attempt.run_id, Attempt.number, failed).where(*executing))
    query = _copies(location_id).where(DataProduct.run_id.in_(owners))
    copies = {row[2]: CopyRow(*row) for row in session.execute(query).tuples()}
    return RunFiles(copies, statuses, {(run, number): failed for run, number, failed in attempts.tuples()})


def present_copies(session: Session, location_id: int, *, after: int, limit: int) -> list[CopyRow]:
    """Return the next `limit` copies with a number greater than `after` that should exist; includes copies given up."""
    should = sa.or_(Copy.status == PhysicalCopyStatus.PRESENT, _is_given_up())
    query = _copies(location_id).where(Copy.id > after, should)
    return [CopyRow(*row) for row in session.execute(query.order_by(Copy.id).limit(limit)).tuples()]


def newest_copies(session: Session, location_id: int, limit: int) -> list[str]:
    """Return the paths of the newest `limit` copies that should exist."""
    here = (Copy.data_location_id == location_id, Copy.status == PhysicalCopyStatus.PRESENT)
    query = sa.select(Copy.path).where(*here, Copy.data_product_id.is_not(None))
    return list(session.scalars(query.order_by(Copy.id.desc()).limit(limit)))


def still_present(session: Session, location_id: int, rows: Collection[CopyRow]) -> list[CopyRow]:
    """Return those of the copies whose record has not changed since it was read."""
    query = _copies(location_id).where(Copy.id.in_([row.id for row in rows]))
    now = {row[0]: CopyRow(*row) for row in session.execute(query).tuples()}
    return [row for row in rows if now.get(row.id) == row]


def record_missing(session: Session, copy_ids: Collection[int]) -> None:
    """Record that the files of copies are missing."""
    session.execute(
        sa.update(Copy)
        .where(Copy.id.in_(copy_ids), Copy.status == PhysicalCopyStatus.PRESENT)
        .values(status=PhysicalCopyStatus.DELETED, checksum_verified_at=None)
        .execution_options(synchronize_session=False)
    )


def record_found(session: Session, copy_ids: Collection[int]) -> None:
    """Record that missing files were found again; they are not verified."""
    session.execute(
        sa.update(Copy)
        .where(Copy.id.in_(copy_ids), Copy.status == PhysicalCopyStatus.DELETED)
        .values(status=PhysicalCopyStatus.PRESENT)
        .execution_options(synchronize_session=False)
    )


def can_be_purged(session: Session, location_id: int, bad: Bad, now: datetime) -> set[RunId]:
    """Return those runs with bad copies that a purge may remove, or of which it would have nothing left to remove.

    All of them can be regenerated, and none is pinned. It must be called in a request's transaction in which `look` has
    updated `sub_group_gap`.
    """
    kept = causes(session, location_id, now)
    again = (RunSpace.state == SpaceState.PRESENT, sa.not_(kept[Cause.PINNED]))
    is_kept = sa.or_(*(condition for cause, condition in kept.items() if cause not in _OF_EACH))
    query = (
        sa.select(RunSpace.run_id, is_kept)
        .join(ReductionStepRevision, ReductionStepRevision.step_id == RunSpace.step_id)
        .where(ReductionStepRevision.id.in_(last_revisions()), RunSpace.run_id.in_(bad.run_ids), *again)
    )
    left = _left(session, location_id, bad)
    fit = {run for run, is_kept in session.execute(query).tuples() if run not in left or not (is_kept or left[run])}
    return fit - set(session.scalars(cannot_regenerate_now(fit)))


def _left(session: Session, location_id: int, bad: Bad) -> dict[RunId, bool]:
    """Return the runs with removable files left, and whether one of these files is unverified."""
    query = (
        sa.select(DataProduct.run_id, Copy.id, Copy.checksum_verified_at.is_(None))
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(DataProduct.run_id.in_(bad.run_ids), DataProduct.type.in_(REMOVABLE_TYPES))
        .where(
            Copy.data_location_id == location_id,
            Copy.status.in_((PhysicalCopyStatus.PRESENT, PhysicalCopyStatus.DELETED)),
        )
    )
    left: dict[RunId, bool] = {}
    for run_id, copy_id, unverified in session.execute(query).tuples():
        if copy_id not in bad.missing:
            left[run_id] = left.get(run_id, False) or (unverified and copy_id not in bad.different)
    return left


def staged_copies(session: Session, location_id: int) -> dict[str, tuple[int, PhysicalCopyStatus]]:
    """Return directory name → (copy, status) of the copies that were staged at a location."""
    copy, prefix = RawDataPackagePhysicalCopy, f"{STAGED_DIRECTORY}/"
    query = sa.select(copy.path, copy.id, copy.status).where(copy.data_location_id == location_id, is_staged())
    found = session.execute(query.order_by(copy.id)).tuples()
    return {path.removeprefix(prefix): (copy_id, status) for path, copy_id, status in found}


def packages_being_staged(session: Session, location_id: int) -> list[tuple[str, str]]:
    """Return the names and checksums of the packages that are being staged at a location."""
    query = (
        sa.select(RawDataPackage.name, RawDataPackage.checksum)
        .join(StagingJob, StagingJob.raw_data_package_id == RawDataPackage.id)
        .where(StagingJob.target_location_id == location_id, StagingJob.status.in_(OPEN))
    )
    return [(name, checksum) for name, checksum in session.execute(query).tuples() if checksum is not None]


def record_missing_staged(session: Session, copy_ids: Collection[int]) -> None:
    """Record that staged copies are missing: the packages are staged again when they are needed."""
    copy = RawDataPackagePhysicalCopy
    session.execute(
        sa.update(copy)
        .where(copy.id.in_(copy_ids), copy.status == PhysicalCopyStatus.STAGED)
        .values(status=PhysicalCopyStatus.DELETED)
        .execution_options(synchronize_session=False)
    )


def _is_given_up() -> sa.ColumnElement[bool]:
    deleted = (Copy.status == PhysicalCopyStatus.DELETED, DataProduct.type.in_(REMOVABLE_TYPES))
    return sa.and_(*deleted, RunSpace.state == SpaceState.PRESENT)


def _copies(location_id: int) -> sa.Select[Any]:
    removable = sa.type_coerce(DataProduct.type.in_(REMOVABLE_TYPES), sa.Boolean)
    return (
        sa.select(Copy.id, DataProduct.run_id, Copy.path, DataProduct.size_bytes, Copy.status, removable)
        .add_columns(RunSpace.changed_at, sa.func.coalesce(_is_given_up(), sa.false()))
        .join(DataProduct, DataProduct.id == Copy.data_product_id)
        .outerjoin(RunSpace, RunSpace.run_id == DataProduct.run_id)
        .where(Copy.data_location_id == location_id)
    )
