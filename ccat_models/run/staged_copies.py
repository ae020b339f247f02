"""Staged copies that nobody needs now, and their way out.

STAGED ── marked ──► DELETION_SCHEDULED ── still not needed ──► DELETION_IN_PROGRESS ── removed ──► DELETED
             ◄── needed after all ──┘

Whoever asks for a run between the two steps is seen by the second one, or finds the mark and takes it back. What is in
progress goes only forward: whoever finds it removes it, and it is brought anew.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.gap.reasons import Reason
from ccat_models.pipeline.view import last_revisions
from ccat_models.raw.staging import is_staged
from ccat_models.tables.base import PackageId
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import SubGroupGap
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.pipelines import ReductionStepDependency, ReductionStepRevision, SubGroupMember
from ccat_models.tables.places import READABLE, DataLocation, LocationType, PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.staging import StagingJob, Status


@dataclass(frozen=True)
class StagedCopy:
    """A staged copy that may go, or is on its way out; the job is the one that brought it."""

    copy_id: int
    package_id: PackageId
    name: str
    path: str
    size_bytes: int
    last_used_at: datetime
    job_id: int | None


def releasable(session: Session, location_id: int, now: datetime, keep: timedelta) -> list[StagedCopy]:
    """Return the staged copies at a location that may go, those first whose last use is longest ago.

    Each can be brought again from an archive, no run in flight and no open gap of a root step reads it, and it was not
    used for so long.
    """
    found = _copies(session, location_id, PhysicalCopyStatus.STAGED, _can_be_brought_again(), ~_is_needed())
    return sorted(
        (copy for copy in found if now - copy.last_used_at >= keep), key=lambda copy: (copy.last_used_at, copy.copy_id)
    )


def staged(session: Session, location_id: int, package_ids: Collection[PackageId]) -> list[StagedCopy]:
    """Return the copies of these packages that are staged at a location."""
    return _copies(session, location_id, PhysicalCopyStatus.STAGED, Copy.raw_data_package_id.in_(package_ids))


def scheduled(session: Session, location_id: int) -> list[StagedCopy]:
    """Return the copies that are marked, by whomever."""
    return _copies(session, location_id, PhysicalCopyStatus.DELETION_SCHEDULED)


def being_removed(
    session: Session, location_id: int, package_ids: Collection[PackageId] | None = None
) -> list[StagedCopy]:
    """Return the copies, of these packages if any are named, that are going and may be gone."""
    chosen = [] if package_ids is None else [Copy.raw_data_package_id.in_(package_ids)]
    return _copies(session, location_id, PhysicalCopyStatus.DELETION_IN_PROGRESS, *chosen)


def mark(session: Session, copy_ids: Collection[int]) -> None:
    """Mark staged copies: no run that is not in flight yet reads them now."""
    _move(session, PhysicalCopyStatus.STAGED, PhysicalCopyStatus.DELETION_SCHEDULED, Copy.id.in_(copy_ids))


def settle(session: Session, location_id: int) -> None:
    """Take the mark back from copies that are needed after all; the others go."""
    here = Copy.data_location_id == location_id
    marked = PhysicalCopyStatus.DELETION_SCHEDULED
    _move(session, marked, PhysicalCopyStatus.DELETION_IN_PROGRESS, here, ~_is_needed(), _can_be_brought_again())
    _move(session, marked, PhysicalCopyStatus.STAGED, here)


def take_back(session: Session, location_id: int, package_ids: Collection[PackageId]) -> None:
    """Take the mark back from copies of packages that somebody is about to read."""
    chosen = (Copy.data_location_id == location_id, Copy.raw_data_package_id.in_(package_ids))
    _move(session, PhysicalCopyStatus.DELETION_SCHEDULED, PhysicalCopyStatus.STAGED, *chosen)


def record_removed(session: Session, copy_ids: Collection[int]) -> None:
    """Record that copies are gone."""
    _move(session, PhysicalCopyStatus.DELETION_IN_PROGRESS, PhysicalCopyStatus.DELETED, Copy.id.in_(copy_ids))


def record_lost(session: Session, copy_ids: Collection[int]) -> None:
    """Record that staged copies are gone which nobody here has removed."""
    _move(session, PhysicalCopyStatus.STAGED, PhysicalCopyStatus.DELETED, Copy.id.in_(copy_ids))


def _copies(
    session: Session, location_id: int, status: PhysicalCopyStatus, *conditions: sa.ColumnElement[bool]
) -> list[StagedCopy]:
    query = (
        sa.select(Copy.id, Copy.raw_data_package_id, RawDataPackage.name, Copy.path, RawDataPackage.size_bytes)
        .add_columns(Copy.created_at, _last_read(), _bringing_job(location_id))
        .join(RawDataPackage, RawDataPackage.id == Copy.raw_data_package_id)
        .where(
            Copy.data_location_id == location_id,
            is_staged(),
            Copy.status == status,
            *conditions,
        )
        .order_by(Copy.id)
    )
    return [
        StagedCopy(copy_id, package_id, name, path, size, max(filter(None, (created, read))), job_id)
        for copy_id, package_id, name, path, size, created, read, job_id in session.execute(query).tuples()
        if package_id is not None
    ]


def _last_read() -> sa.ColumnElement[Any]:
    """Return when the last run that read a copy's package changed its status."""
    return (
        sa.select(sa.func.max(Run.status_changed_at))
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .where(RunInputPackage.raw_data_package_id == Copy.raw_data_package_id)
        .correlate(Copy)
        .scalar_subquery()
    )


def _bringing_job(location_id: int) -> sa.ColumnElement[Any]:
    """Return the job that brought a copy."""
    return (
        sa.select(sa.func.max(StagingJob.id))
        .where(
            StagingJob.raw_data_package_id == Copy.raw_data_package_id,
            StagingJob.target_location_id == location_id,
            StagingJob.status == Status.COMPLETED,
        )
        .correlate(Copy)
        .scalar_subquery()
    )


def _can_be_brought_again() -> sa.ColumnElement[bool]:
    other = aliased(Copy)
    return (
        sa.select(other.id)
        .join(DataLocation, DataLocation.id == other.data_location_id)
        .where(
            other.raw_data_package_id == Copy.raw_data_package_id,
            other.data_location_id != Copy.data_location_id,
            other.status.in_(READABLE),
            DataLocation.location_type == LocationType.LONG_TERM_ARCHIVE,
            DataLocation.active,
        )
        .correlate(Copy)
        .exists()
    )


def _is_needed() -> sa.ColumnElement[bool]:
    read = (
        sa.select(Run.id)
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .where(RunInputPackage.raw_data_package_id == Copy.raw_data_package_id, Run.status.in_(IN_FLIGHT))
        .correlate(Copy)
        .exists()
    )
    fed_by_others = (
        sa.select(ReductionStepRevision.step_id)
        .join(ReductionStepDependency, ReductionStepDependency.step_revision_id == ReductionStepRevision.id)
        .where(ReductionStepRevision.id.in_(last_revisions()))
    )
    wanted = (
        sa.select(SubGroupGap.sub_group_id)
        .join(SubGroupMember, SubGroupMember.sub_group_id == SubGroupGap.sub_group_id)
        .where(
            SubGroupMember.raw_data_package_id == Copy.raw_data_package_id,
            SubGroupGap.reason != Reason.UP_TO_DATE.value,
            SubGroupGap.alive == 1,
            SubGroupGap.step_id.not_in(fed_by_others),
        )
        .correlate(Copy)
        .exists()
    )
    return sa.or_(read, wanted)


def _move(
    session: Session, before: PhysicalCopyStatus, after: PhysicalCopyStatus, *conditions: sa.ColumnElement[bool]
) -> None:
    session.execute(
        sa.update(Copy)
        .where(is_staged(), Copy.status == before, *conditions)
        .values(status=after)
        .execution_options(synchronize_session=False)
    )
