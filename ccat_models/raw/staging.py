"""Raw data packages that are brought from an archive to a processing location: where from, how far, and since when."""

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

NOBODY_WAITED = "nobody waited for it any more"  # what a job failed of whose package was given up
STAGED_DIRECTORY = ".staged"  # below a processing location: what may go once nobody needs it
STAGED_DIGITS = 12  # of the package's checksum, at the end of the name of its directory there
_PACKED = (".tar", ".tar.gz", ".tgz")  # how the path of a copy ends that is one file


@dataclass(frozen=True)
class Staged:
    """Raw data that was brought to a location and takes up room there."""

    packages: int
    size_bytes: int


@dataclass(frozen=True)
class ArchivedCopy:
    """A readable copy of a package in an archive; packed in one tar, or lying there file by file."""

    package_id: PackageId
    location: DataLocation
    path: str
    alone: bool = True  # no other archive has one

    @property
    def packed(self) -> bool:
        """Say whether the copy is one tar."""
        return is_packed(self.path)


@dataclass(frozen=True)
class Progress:
    """What is known of a package on its way."""

    transferred: int  # bytes, those of lines that broke included
    total: int | None = None


@dataclass(frozen=True)
class IdleJob:
    """An open job whose package nobody waits for any more."""

    id: int
    package: str
    checksum: str


def is_packed(path: str) -> bool:
    """Say whether a copy at this path is one tar, not a directory or key prefix."""
    return path.endswith(_PACKED)


def is_unpacked() -> sa.ColumnElement[bool]:
    """Return the condition that a copy is a directory that can be read as it is."""
    return ~sa.or_(*(Copy.path.endswith(ending, autoescape=True) for ending in _PACKED))


def is_staged() -> sa.ColumnElement[bool]:
    """Return the condition that a copy was brought by staging, to lie below `STAGED_DIRECTORY`."""
    return Copy.path.startswith(f"{STAGED_DIRECTORY}/", autoescape=True)


def read_staged(session: Session, location_id: int) -> Staged:
    """Return how much raw data was brought to a location and is not gone from there."""
    query = (
        sa.select(sa.func.count(), total(RawDataPackage.size_bytes))
        .join(Copy, Copy.raw_data_package_id == RawDataPackage.id)
        .where(Copy.data_location_id == location_id, is_staged(), Copy.status != PhysicalCopyStatus.DELETED)
    )
    return Staged(*session.execute(query).tuples().one())


def readable_directories(
    session: Session, package_ids: Collection[PackageId] | sa.Select[tuple[PackageId]], location_id: int
) -> dict[PackageContent, str]:
    """Return where packages, listed or chosen by a query, lie unpacked on a disk of the host the location is on.

    What lies there is today's content, which is not what a run may have been requested for.
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
        .order_by(DiskDataLocation.priority, DiskDataLocation.id)  # the last one, of the highest priority, stays
    )
    rows = session.execute(copies).tuples()
    return {(package, checksum): f"{base}/{path}" for package, checksum, base, path in rows if checksum}


def _holds_today() -> sa.ColumnElement[bool]:
    """Return the condition that a copy was not brought of what a package was until it was delivered again."""
    return sa.or_(~is_staged(), Copy.path.endswith(sa.func.substr(RawDataPackage.checksum, 1, STAGED_DIGITS)))


def archived_copies(
    session: Session, package_ids: Collection[PackageId], location_id: int
) -> dict[PackageContent, ArchivedCopy]:
    """Return for each package the copy that a location can be given it from; of several, of the highest priority.

    From object stores and tape mounts, and from tars on disks of the host that the location is on. One from which the
    package could not be brought since it last was comes after the others, the one that failed last at the end.
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
        .order_by(_last_failure(location_id).desc(), place.priority, place.id)  # the last one stays
    )
    found: dict[PackageContent, ArchivedCopy] = {}
    for package, checksum, location, path in session.execute(copies).tuples():
        if checksum:
            content = (package, checksum)
            found[content] = ArchivedCopy(package, location, path, alone=content not in found)
    return found


def _last_failure(target_id: int) -> sa.ColumnElement[int]:
    """Return the last job that could not bring a package from where a copy lies, 0 if it has been brought since."""
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
        failed.failure_message != NOBODY_WAITED,
        failed.id > last_brought.correlate(Copy).scalar_subquery(),
    )
    return sa.func.coalesce(last_failed.correlate(Copy).scalar_subquery(), 0)


def open_jobs(session: Session, package_ids: Collection[PackageId], target_id: int) -> dict[PackageId, StagingJob]:
    """Return the one open job of each package that has one."""
    query = sa.select(StagingJob).where(
        StagingJob.raw_data_package_id.in_(package_ids),
        StagingJob.target_location_id == target_id,
        StagingJob.status.in_(OPEN),
    )
    return {job.raw_data_package_id: job for job in session.scalars(query)}


def jobs_without_reader(session: Session, location_id: int) -> list[IdleJob]:
    """Return the open jobs that no run in flight waits for."""
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
    """Open a job for each package that has none."""
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


def note_progress(session: Session, jobs: Mapping[int, Progress], now: datetime) -> None:
    """Record how far packages on their way are."""
    rows = [{"the_id": number, "the_bytes": seen.transferred, "the_total": seen.total} for number, seen in jobs.items()]
    session.connection().execute(
        sa.update(StagingJob)
        .where(
            StagingJob.id == sa.bindparam("the_id"),
            sa.or_(*(StagingJob.status == status for status in OPEN)),  # an IN is nothing for many rows at once
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
    """End jobs as failed, each with its message and the bytes that came all the same."""
    for job in _jobs(session, failures):
        message, transferred = failures[job.id]
        job.status, job.failure_message, job.finished_at = Status.FAILED, message, now
        job.bytes_transferred = max(transferred, job.bytes_transferred)


def record_staged(session: Session, arrived: Mapping[int, tuple[str, int]], location_id: int, now: datetime) -> None:
    """Record that jobs are completed: the path at which each one's package lies, and the bytes that came."""
    paths = {}
    for job in _jobs(session, arrived):
        paths[job.raw_data_package_id], job.bytes_transferred = arrived[job.id]
        job.status, job.finished_at, job.started_at = Status.COMPLETED, now, job.started_at or now
    query = sa.select(Copy).where(Copy.data_location_id == location_id, Copy.raw_data_package_id.in_(paths))
    there = {copy.raw_data_package_id: copy for copy in session.scalars(query)}
    for package_id, path in paths.items():
        copy = there.get(package_id) or Copy(raw_data_package_id=package_id, data_location_id=location_id)
        copy.path, copy.status, copy.created_at, copy.checksum_verified_at = path, PhysicalCopyStatus.STAGED, now, now
        session.add(copy)


def _jobs(session: Session, numbers: Collection[int]) -> Sequence[StagingJob]:
    return session.scalars(sa.select(StagingJob).where(StagingJob.id.in_(numbers), StagingJob.status.in_(OPEN))).all()


def _host_of(location_id: int) -> sa.ColumnElement[str]:
    host = sa.select(DiskDataLocation.host).where(DiskDataLocation.id == location_id).scalar_subquery()
    return sa.func.coalesce(host, "")
