import enum
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import BIG_ID, Base, PackageId, ProductId, stored_enum


class LocationType(enum.Enum):
    """What a data location is for (ops-db location model)."""

    SOURCE = "source"
    BUFFER = "buffer"
    LONG_TERM_ARCHIVE = "long_term_archive"
    PROCESSING = "processing"


class PhysicalCopyStatus(enum.Enum):
    """The states of a physical copy (ops-db models)."""

    PRESENT = "PRESENT"
    STAGED = "STAGED"
    DELETION_SCHEDULED = "DELETION_SCHEDULED"
    DELETION_IN_PROGRESS = "DELETION_IN_PROGRESS"
    DELETION_POSSIBLE = "DELETION_POSSIBLE"
    DELETED = "DELETED"
    DELETION_FAILED = "DELETION_FAILED"


READABLE = (PhysicalCopyStatus.PRESENT, PhysicalCopyStatus.STAGED, PhysicalCopyStatus.DELETION_POSSIBLE)
ON_DISK = (*READABLE, PhysicalCopyStatus.DELETION_SCHEDULED, PhysicalCopyStatus.DELETION_IN_PROGRESS)


class Site(Base):
    """A place with data locations: ccat, cologne, us, or this machine."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)
    short_name: Mapped[str] = mapped_column(sa.String(50), unique=True)
    name: Mapped[str] = mapped_column(default="")


class DataLocation(Base):
    """A disk, object store or tape library of a site; one of the following kinds."""

    __tablename__ = "data_location"
    __mapper_args__ = {"polymorphic_on": "storage_type"}
    __table_args__ = (sa.CheckConstraint("storage_type IN ('disk', 's3', 'tape')", name="known_storage"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(sa.ForeignKey("site.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    location_type: Mapped[LocationType] = mapped_column(stored_enum(LocationType))
    storage_type: Mapped[str] = mapped_column(sa.String(8))
    priority: Mapped[int] = mapped_column(default=0)
    active: Mapped[bool] = mapped_column(default=True)


class DiskDataLocation(DataLocation):
    """A directory on a host; an empty `host` means this machine."""

    __tablename__ = "disk_data_location"
    __mapper_args__ = {"polymorphic_identity": "disk"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("data_location.id"), primary_key=True)
    path: Mapped[str] = mapped_column(sa.String(1000))
    host: Mapped[str] = mapped_column(sa.String(200), default="")


class S3DataLocation(DataLocation):
    """A bucket; credentials are read from the environment and never stored here."""

    __tablename__ = "s3_data_location"
    __mapper_args__ = {"polymorphic_identity": "s3"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("data_location.id"), primary_key=True)
    endpoint_url: Mapped[str] = mapped_column(sa.String(500))
    bucket: Mapped[str] = mapped_column(sa.String(200))
    prefix: Mapped[str] = mapped_column(sa.String(500), default="")


class TapeDataLocation(DataLocation):
    """A tape library, reached by its mount path."""

    __tablename__ = "tape_data_location"
    __mapper_args__ = {"polymorphic_identity": "tape"}

    id: Mapped[int] = mapped_column(sa.ForeignKey("data_location.id"), primary_key=True)
    mount_path: Mapped[str] = mapped_column(sa.String(1000))


_UNVERIFIED_PRODUCT = sa.text("checksum_verified_at IS NULL AND data_product_id IS NOT NULL")


class PhysicalCopy(Base):
    """One copy of a package, a raw file or a product at one location; `path` is relative to the location."""

    __tablename__ = "physical_copy"
    __mapper_args__ = {"polymorphic_on": "kind"}
    __table_args__ = (
        sa.CheckConstraint(
            "(kind = 'raw_data_package' AND raw_data_package_id IS NOT NULL AND raw_data_file_id IS NULL"
            " AND data_product_id IS NULL) OR "
            "(kind = 'raw_data_file' AND raw_data_file_id IS NOT NULL AND raw_data_package_id IS NULL"
            " AND data_product_id IS NULL) OR "
            "(kind = 'data_product' AND data_product_id IS NOT NULL AND raw_data_package_id IS NULL"
            " AND raw_data_file_id IS NULL)",
            name="of_one_thing",
        ),
        sa.Index(
            "ix_physical_copy_unverified_product",
            "data_product_id",
            sqlite_where=_UNVERIFIED_PRODUCT,
        ),
        sa.UniqueConstraint("data_location_id", "raw_data_package_id"),
        sa.UniqueConstraint("data_location_id", "raw_data_file_id"),
        sa.UniqueConstraint("data_location_id", "data_product_id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    data_location_id: Mapped[int] = mapped_column(sa.ForeignKey("data_location.id"), index=True)
    path: Mapped[str] = mapped_column(sa.String(1000))
    status: Mapped[PhysicalCopyStatus] = mapped_column(stored_enum(PhysicalCopyStatus))
    created_at: Mapped[datetime]
    checksum_verified_at: Mapped[datetime | None]
    raw_data_package_id: Mapped[PackageId | None] = mapped_column(
        BIG_ID, sa.ForeignKey("raw_data_package.id"), index=True
    )
    raw_data_file_id: Mapped[uuid.UUID | None] = mapped_column(sa.Uuid, sa.ForeignKey("raw_data_file.id"), index=True)
    data_product_id: Mapped[ProductId | None] = mapped_column(BIG_ID, sa.ForeignKey("data_product.id"), index=True)

    location: Mapped[DataLocation] = relationship()


class RawDataPackagePhysicalCopy(PhysicalCopy):
    """A copy of a package's present content; with the status STAGED it is an unpacked directory."""

    __mapper_args__ = {"polymorphic_identity": "raw_data_package"}


class RawDataFilePhysicalCopy(PhysicalCopy):
    """A copy of a single raw file."""

    __mapper_args__ = {"polymorphic_identity": "raw_data_file"}


class DataProductPhysicalCopy(PhysicalCopy):
    """A copy of a data product."""

    __mapper_args__ = {"polymorphic_identity": "data_product"}
