"""Copying raw data packages from an archive to a processing location: from which copy, how far, and since when."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, with_polymorphic

from ccat_models.tables.base import PackageId, total
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.places import (
    READABLE,
    DataLocation,
    DiskDataLocation,
    LocationType,
    PhysicalCopyStatus,
)
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.raw_data import PackageContent, RawDataPackage
from ccat_models.tables.staging import OPEN, StagingJob, Status

GIVEN_UP_MESSAGE = "nobody waited for it any more"  # the message of a job that was given up
STAGED_DIRECTORY = ".staged"  # below a processing location: copies that may be deleted when no run needs them
STAGED_DIGITS = 12  # digits of the package's checksum that end the name of its directory there
_PACKED = (".tar", ".tar.gz", ".tgz")  # endings of the paths of copies that are one tar file


@dataclass(frozen=True)
class Staged:
    """Raw data that was staged at a location and takes up room there."""

    packages: int
    size_bytes: int


@dataclass(frozen=True)
class ArchivedCopy:
    """A readable copy of a package in an archive: one tar file, or a directory of its files."""

    package_id: PackageId
    location: DataLocation
    path: str
    alone: bool = True  # no other archive has a copy

    @property
    def packed(self) -> bool:
        """Say whether the copy is one tar file."""
        return is_packed(self.path)


@dataclass(frozen=True)
class Progress:
    """How far the staging of one package is."""

    transferred: int  # bytes, including those of transfers that broke off
    total: int | None = None


@dataclass(frozen=True)
class IdleJob:
    """An open staging job whose package no run waits for any more."""

    id: int
    package: str
    checksum: str


def is_packed(path: str) -> bool:
    """Say whether a copy at this path is one tar file, not a directory or key prefix."""
    return path.endswith(_PACKED)


def is_unpacked() -> sa.ColumnElement[bool]:
    """Return the condition that a copy is a directory that can be read as it is."""
    return ~sa.or_(*(Copy.path.endswith(ending, autoescape=True) for ending in _PACKED))


def is_staged() -> sa.ColumnElement[bool]:
    """Return the condition that a copy was made by staging and is therefore below `STAGED_DIRECTORY`."""
    return Copy.path.startswith(f"{STAGED_DIRECTORY}/", autoescape=True)


def read_staged(session: Session, location_id: int) -> Staged:
    """Return how much staged raw data a location holds."""
    query = (
        sa.select(sa.func.count(), total(RawDataPackage.size_bytes))
        .join(Copy, Copy.raw_data_package_id == RawDataPackage.id)
        .where(Copy.data_location_id == location_id, is_staged(), Copy.status != PhysicalCopyStatus.DELETED)
    )
    return Staged(*session.execute(query).tuples().one())


def readable_directories(
    session: Session, package_ids: Collection[PackageId] | sa.Select[tuple[PackageId]], location_id: int
) -> dict[PackageContent, str]:
    """Return the unpacked, readable directory of each package on a disk of the location's host.

    `package_ids` is a list or a query. The keys hold each package's present checksum: a run that was requested for an
    earlier content must compare.
    """
    copies = (
        sa.select(RawDataPackage.id, RawDataPackage.checksum, DiskDataLocation.path, Copy.path)
        .join(RawDataPackage, RawDataPackage.id == Copy.raw_data_package_id)
        .join(DiskDataLocation, DiskDataLocation.id == Copy.data_location_id)
        .where(
            Copy.raw_data_package_id.in_(package_ids),
            Copy.status.in_(READABLE),
            DiskDataLocation.host == _host_of(location_id),
            DiskDataLocation.active,
            is_unpacked(),
            _holds_today(),
        )
        .order_by(DiskDataLocation.priority, DiskDataLocation.id)  # the last row wins: highest priority
    )
    rows = session.execute(copies).tuples()
    return {(package, checksum): f"{base}/{path}" for package, checksum, base, path in rows if checksum}


def _holds_today() -> sa.ColumnElement[bool]:
    """Return the condition that a copy, if it was staged, was staged from the package's present content."""
    return sa.or_(~is_staged(), Copy.path.endswith(sa.func.substr(RawDataPackage.checksum, 1, STAGED_DIGITS)))


def archived_copies(
    session: Session, package_ids: Collection[PackageId], location_id: int
) -> dict[PackageContent, ArchivedCopy]:
    """Return, for each package, the archived copy to stage at a location.

    Usable are copies in object stores and on tape mounts, and tar files on disks of the location's host. Of several,
    the one of highest priority is taken; a copy whose staging has failed since the package was last staged there comes
    after the others, the latest failure last.
    """
    place = with_polymorphic(DataLocation, "*", flat=True)
    seen_here = sa.select(DiskDataLocation.id).where(DiskDataLocation.host == _host_of(location_id))
    copies = (
        sa.select(RawDataPackage.id, RawDataPackage.checksum, place, Copy.path)
        .join(RawDataPackage, RawDataPackage.id == Copy.raw_data_package_id)
        .join(place, place.id == Copy.data_location_id)
        .where(
            Copy.raw_data_package_id.in_(package_ids),
            Copy.status.in_(READABLE),
            place.location_type == LocationType.LONG_TERM_ARCHIVE,
            place.active,
            sa.or_(place.storage_type != "disk", sa.and_(place.id.in_(seen_here), ~is_unpacked())),
        )
        .order_by(_last_failure(location_id).desc(), place.priority, place.id)  # the last row wins
    )
    found: dict[PackageContent, ArchivedCopy] = {}
    for package, checksum, location, path in session.execute(copies).tuples():
        if checksum:
            content = (package, checksum)
            found[content] = ArchivedCopy(package, location, path, alone=content not in found)
    return found


def _last_failure(target_id: int) -> sa.ColumnElement[int]:
    """Return the id of the last job that failed to stage a package from a copy, 0 if the package was staged since."""
    failed, brought = aliased(StagingJob), aliased(StagingJob)
    last_brought = sa.select(sa.func.coalesce(sa.func.max(brought.id), 0)).where(
        brought.raw_data_package_id == Copy.raw_data_package_id,
        brought.target_location_id == target_id,
        brought.status == Status.COMPLETED,
    )
    last_failed = sa.select(sa.func.max(failed.id)).where(
        failed.raw_data_package_id == Copy.raw_data_package_id,
        failed.source_location_id == Copy.data_location_id,
        failed.target_location_id == target_id,
        failed.status == Status.FAILED,
        failed.failure_message != GIVEN_UP_MESSAGE,
        failed.id > last_brought.correlate(Copy).scalar_subquery(),
    )
    return sa.func.coalesce(last_failed.correlate(Copy).scalar_subquery(), 0)


def open_jobs(session: Session, package_ids: Collection[PackageId], target_id: int) -> dict[PackageId, StagingJob]:
    """Return the open job of each package that has one; there is at most one for each package and target."""
    query = sa.select(StagingJob).where(
        StagingJob.raw_data_package_id.in_(package_ids),
        StagingJob.target_location_id == target_id,
        StagingJob.status.in_(OPEN),
    )
    return {job.raw_data_package_id: job for job in session.scalars(query)}


def jobs_without_reader(session: Session, location_id: int) -> list[IdleJob]:
    """Return the open jobs at a location whose package is no input of a run in flight."""
    read = (
        sa.select(Run.id)
        .join(RunInputPackage, RunInputPackage.run_id == Run.id)
        .where(RunInputPackage.raw_data_package_id == StagingJob.raw_data_package_id, Run.status.in_(IN_FLIGHT))
        .exists()
    )
    query = (
        sa.select(StagingJob.id, RawDataPackage.name, RawDataPackage.checksum)
        .join(RawDataPackage, RawDataPackage.id == StagingJob.raw_data_package_id)
        .where(StagingJob.target_location_id == location_id, StagingJob.status.in_(OPEN), ~read)
    )
    return [IdleJob(job, name, checksum or "") for job, name, checksum in session.execute(query).tuples()]


def request_jobs(session: Session, copies: Collection[ArchivedCopy], target_id: int, now: datetime) -> None:
    """Open a job to stage each of these copies, unless its package has an open job for this target."""
    rows = [
        {
            "raw_data_package_id": copy.package_id,
            "source_location_id": copy.location.id,
            "target_location_id": target_id,
            "status": Status.PENDING,
            "bytes_transferred": 0,
            "requested_at": now,
        }
        for copy in copies
    ]
    if rows:
        session.execute(insert_or_ignore(session, StagingJob), rows)


def record_progress(session: Session, jobs: Mapping[int, Progress], now: datetime) -> None:
    """Record how far jobs are (job id → progress), and that they have begun."""
    rows = [{"the_id": number, "the_bytes": seen.transferred, "the_total": seen.total} for number, seen in jobs.items()]
    session.connection().execute(
        sa.update(StagingJob)
        .where(
            StagingJob.id == sa.bindparam("the_id"),
            sa.or_(*(StagingJob.status == status for status in OPEN)),  # an expanding IN does not work with executemany
        )
        .values(
            status=Status.IN_PROGRESS,
            started_at=sa.func.coalesce(StagingJob.started_at, now),
            bytes_transferred=sa.bindparam("the_bytes"),
            bytes_total=sa.func.coalesce(sa.bindparam("the_total", type_=sa.BigInteger), StagingJob.bytes_total),
        ),
        rows,
    )


def record_failed(session: Session, failures: Mapping[int, tuple[str, int]], now: datetime) -> None:
    """End jobs as failed (job id → message and bytes that were transferred)."""
    for job in _jobs(session, failures):
        message, transferred = failures[job.id]
        job.status, job.failure_message, job.finished_at = Status.FAILED, message, now
        job.bytes_transferred = max(transferred, job.bytes_transferred)


def record_staged(session: Session, arrived: Mapping[int, tuple[str, int]], location_id: int, now: datetime) -> None:
    """End jobs as completed and record the copies (job id → path below the location, bytes transferred)."""
    paths = {}
    for job in _jobs(session, arrived):
        paths[job.raw_data_package_id], job.bytes_transferred = arrived[job.id]
        job.status, job.finished_at, job.started_at = Status.COMPLETED, now, job.started_at or now
    query = sa.select(Copy).where(Copy.data_location_id == location_id, Copy.raw_data_package_id.in_(paths))
    existing = {copy.raw_data_package_id: copy for copy in session.scalars(query)}
    for package_id, path in paths.items():
        copy = existing.get(package_id) or Copy(raw_data_package_id=package_id, data_location_id=location_id)
        copy.path, copy.status, copy.created_at, copy.checksum_verified_at = path, PhysicalCopyStatus.STAGED, now, now
        session.add(copy)


def _jobs(session: Session, numbers: Collection[int]) -> Sequence[StagingJob]:
    return session.scalars(sa.select(StagingJob).where(StagingJob.id.in_(numbers), StagingJob.status.in_(OPEN))).all()


def _host_of(location_id: int) -> sa.ColumnElement[str]:
    host = sa.select(DiskDataLocation.host).where(DiskDataLocation.id == location_id).scalar_subquery()
    return sa.func.coalesce(host, "")
