"""Letting go of staged copies that are not needed.

STAGED ── marked ──► DELETION_SCHEDULED ── still not needed ──► DELETION_IN_PROGRESS ── removed ──► DELETED
             ◄── needed after all ──┘

A run that is requested between the two steps is seen by the second one, or its preparation withdraws the mark. A
deletion in progress is always completed, also by another process; the package is then staged again when needed.
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
    """A staged copy that may be let go or is being removed; `job_id` is the job that staged it."""

    copy_id: int
    package_id: PackageId
    name: str
    path: str
    size_bytes: int
    last_used_at: datetime
    job_id: int | None


def unneeded_copies(session: Session, location_id: int, now: datetime, keep: timedelta) -> list[StagedCopy]:
    """Return the staged copies at a location that may be let go, least recently used first.

    Each has a readable copy in an archive, is read by no run in flight and no open gap of a root step, and was not used
    for the time `keep`.
    """
    found = _copies(session, location_id, PhysicalCopyStatus.STAGED, _is_archived(), ~_is_needed())
    return sorted(
        (copy for copy in found if now - copy.last_used_at >= keep), key=lambda copy: (copy.last_used_at, copy.copy_id)
    )


def staged(session: Session, location_id: int, package_ids: Collection[PackageId]) -> list[StagedCopy]:
    """Return the copies of these packages that are staged at a location."""
    return _copies(session, location_id, PhysicalCopyStatus.STAGED, Copy.raw_data_package_id.in_(package_ids))


def scheduled(session: Session, location_id: int) -> list[StagedCopy]:
    """Return the copies that are marked for deletion."""
    return _copies(session, location_id, PhysicalCopyStatus.DELETION_SCHEDULED)


def being_removed(
    session: Session, location_id: int, package_ids: Collection[PackageId] | None = None
) -> list[StagedCopy]:
    """Return the copies whose deletion is in progress, of these packages if any are given."""
    chosen = [] if package_ids is None else [Copy.raw_data_package_id.in_(package_ids)]
    return _copies(session, location_id, PhysicalCopyStatus.DELETION_IN_PROGRESS, *chosen)


def mark(session: Session, copy_ids: Collection[int]) -> None:
    """Mark staged copies for deletion."""
    _move(session, PhysicalCopyStatus.STAGED, PhysicalCopyStatus.DELETION_SCHEDULED, Copy.id.in_(copy_ids))


def settle(session: Session, location_id: int) -> None:
    """Withdraw the mark from copies that are needed now; the others' deletion is in progress from now on."""
    here = Copy.data_location_id == location_id
    marked = PhysicalCopyStatus.DELETION_SCHEDULED
    _move(session, marked, PhysicalCopyStatus.DELETION_IN_PROGRESS, here, ~_is_needed(), _is_archived())
    _move(session, marked, PhysicalCopyStatus.STAGED, here)


def take_back(session: Session, location_id: int, package_ids: Collection[PackageId]) -> None:
    """Withdraw the mark from copies of packages that are about to be read."""
    chosen = (Copy.data_location_id == location_id, Copy.raw_data_package_id.in_(package_ids))
    _move(session, PhysicalCopyStatus.DELETION_SCHEDULED, PhysicalCopyStatus.STAGED, *chosen)


def record_removed(session: Session, copy_ids: Collection[int]) -> None:
    """Record that copies have been deleted."""
    _move(session, PhysicalCopyStatus.DELETION_IN_PROGRESS, PhysicalCopyStatus.DELETED, Copy.id.in_(copy_ids))


def record_lost(session: Session, copy_ids: Collection[int]) -> None:
    """Record that staged copies were found to be missing."""
    _move(session, PhysicalCopyStatus.STAGED, PhysicalCopyStatus.DELETED, Copy.id.in_(copy_ids))


def _copies(
    session: Session, location_id: int, status: PhysicalCopyStatus, *conditions: sa.ColumnElement[bool]
) -> list[StagedCopy]:
    query = (
        sa.select(Copy.id, Copy.raw_data_package_id, RawDataPackage.name, Copy.path, RawDataPackage.size_bytes)
        .add_columns(Copy.created_at, _last_read(), _staging_job(location_id))
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
    """Return the last change of status of a run that read the copy's package."""
    return (
        sa.select(sa.func.max(Run.status_changed_at))
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .where(RunInputPackage.raw_data_package_id == Copy.raw_data_package_id)
        .correlate(Copy)
        .scalar_subquery()
    )


def _staging_job(location_id: int) -> sa.ColumnElement[Any]:
    """Return the last job that staged a copy."""
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


def _is_archived() -> sa.ColumnElement[bool]:
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
