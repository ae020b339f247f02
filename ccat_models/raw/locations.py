from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, with_polymorphic

from ccat_models.errors import NotFound, Refused
from ccat_models.tables.base import PackageId
from ccat_models.tables.places import (
    READABLE,
    DataLocation,
    DiskDataLocation,
    LocationType,
    PhysicalCopy,
    PhysicalCopyStatus,
    S3DataLocation,
    Site,
    TapeDataLocation,
)
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import PackageContent, RawDataFile, RawDataPackage


@dataclass(frozen=True)
class LocationRow:
    """A data location as it is listed, with the number and size of the copies that can be read there."""

    id: int
    name: str
    type: LocationType
    storage: str
    where: str
    active: bool
    copies: int
    size_bytes: int


def list_locations(session: Session) -> list[LocationRow]:
    """Return the data locations, in the order of their names."""
    size = sa.func.coalesce(RawDataPackage.size_bytes, RawDataFile.size_bytes, DataProduct.size_bytes, 0)
    held = (
        sa.select(PhysicalCopy.data_location_id, sa.func.count().label("copies"), sa.func.sum(size).label("bytes"))
        .outerjoin(RawDataPackage, RawDataPackage.id == PhysicalCopy.raw_data_package_id)
        .outerjoin(RawDataFile, RawDataFile.id == PhysicalCopy.raw_data_file_id)
        .outerjoin(DataProduct, DataProduct.id == PhysicalCopy.data_product_id)
        .where(PhysicalCopy.status.in_(READABLE))
        .group_by(PhysicalCopy.data_location_id)
        .subquery()
    )
    place = with_polymorphic(DataLocation, "*", flat=True)
    query = sa.select(place, held.c.copies, held.c.bytes).outerjoin(held, held.c.data_location_id == place.id)
    return [
        LocationRow(
            id=location.id,
            name=location.name,
            type=location.location_type,
            storage=location.storage_type,
            where=where(location),
            active=location.active,
            copies=copies or 0,
            size_bytes=int(size_bytes or 0),
        )
        for location, copies, size_bytes in session.execute(query.order_by(place.name)).tuples()
    ]


def where(location: DataLocation) -> str:
    """Return where a location is, in the form in which it was declared: a path, `host:path` or an address."""
    if isinstance(location, S3DataLocation):
        return "/".join(filter(None, (location.endpoint_url, location.bucket, location.prefix)))
    if isinstance(location, DiskDataLocation):
        return f"{location.host}:{location.path}" if location.host else location.path
    return location.mount_path if isinstance(location, TapeDataLocation) else ""


def all_locations(session: Session) -> Sequence[DataLocation]:
    """Return the data locations as rows."""
    return session.scalars(sa.select(DataLocation)).all()


def processing_locations(session: Session) -> Sequence[DataLocation]:
    """Return the data locations that runs can be executed at, the oldest first."""
    processing = sa.select(DataLocation).where(DataLocation.location_type == LocationType.PROCESSING)
    return session.scalars(processing.order_by(DataLocation.id)).all()


def disk_at(session: Session, path: str) -> DiskDataLocation | None:
    """Return the location that is this directory, whichever host it is on."""
    return session.scalar(sa.select(DiskDataLocation).where(DiskDataLocation.path == path))


def disk_named(session: Session, name: str) -> DiskDataLocation | None:
    """Return the location of this name, if it is on a disk."""
    return session.scalar(sa.select(DiskDataLocation).where(DiskDataLocation.name == name))


def disk_of(session: Session, location_id: int) -> DiskDataLocation:
    """Return the location that has this number."""
    return session.get_one(DiskDataLocation, location_id)


def add_location(session: Session, location: DataLocation) -> int:
    """Add a location to the site that this machine is, which is made if need be; return its number."""
    site = session.scalar(sa.select(Site).where(Site.short_name == "local"))
    if site is None:
        site = Site(short_name="local", name="this machine")
        session.add(site)
        session.flush()
    location.site_id = site.id
    session.add(location)
    session.flush()
    return location.id


def location_names(session: Session, location_ids: Collection[int]) -> Sequence[str]:
    """Return the names of these locations, in their order."""
    query = sa.select(DataLocation.name).where(DataLocation.id.in_(location_ids)).order_by(DataLocation.name)
    return session.scalars(query).all()


def find_location(session: Session, name: str) -> DataLocation:
    """Return the location of this name; raise NotFound with the known names."""
    place = with_polymorphic(DataLocation, "*", flat=True)
    location: DataLocation | None = session.scalar(sa.select(place).where(place.name == name))
    if location is None:
        raise NotFound("data location", name, list(session.scalars(sa.select(DataLocation.name).order_by("name"))))
    return location


def find_package(session: Session, name: str) -> RawDataPackage:
    """Return the package of this name; raise NotFound with the five names that follow it in the alphabet."""
    package = session.scalar(sa.select(RawDataPackage).where(RawDataPackage.name == name))
    if package is None:
        known = sa.select(RawDataPackage.name).order_by(RawDataPackage.name < name, RawDataPackage.name).limit(5)
        raise NotFound("package", name, list(session.scalars(known)))
    return package


def readable_copy(session: Session, package_id: PackageId, location_id: int) -> Copy | None:
    """Return a package's copy at a location, if it can be read."""
    return session.scalar(
        sa.select(Copy).where(
            Copy.raw_data_package_id == package_id, Copy.data_location_id == location_id, Copy.status.in_(READABLE)
        )
    )


def record_archived(session: Session, content: PackageContent, location_id: int, path: str, now: datetime) -> None:
    """Record that a packed and verified copy of a package exists in an archive, at this path.

    Raises Refused if the package was delivered again with other content in the meantime.
    """
    package_id, checksum = content
    package = session.get_one(RawDataPackage, package_id)
    if package.checksum != checksum:
        raise Refused(f"package {package.name}: was delivered again with other content meanwhile: archive it again")
    known = sa.select(Copy).where(Copy.raw_data_package_id == package_id, Copy.data_location_id == location_id)
    copy = session.scalar(known) or Copy(raw_data_package_id=package_id, data_location_id=location_id)
    copy.path, copy.status, copy.created_at, copy.checksum_verified_at = path, PhysicalCopyStatus.PRESENT, now, now
    session.add(copy)


def files_of(session: Session, package_id: PackageId) -> Sequence[RawDataFile]:
    """Return the files of a package's present content, in the order of their paths."""
    query = sa.select(RawDataFile).join(RawDataPackage, RawDataFile.of_today()).where(RawDataPackage.id == package_id)
    return session.scalars(query.order_by(RawDataFile.path)).all()
