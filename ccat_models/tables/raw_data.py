import enum
import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.fingerprint import Lanes
from ccat_models.tables.base import BIG_ID, Base, PackageId, stored_enum
from ccat_models.tables.observation import ExecutedObsUnit
from ccat_models.tables.observatory import InstrumentModule

PackageContent = tuple[PackageId, str]
"""A package with one of its contents: its id, and the checksum of that content."""


class PackageState(enum.Enum):
    """The states of a package before it is archived, and after (ops-db data model)."""

    WAITING = "waiting"
    TRANSFERRING = "transferring"
    ARCHIVED = "archived"
    FAILED = "failed"


class RawDataPackage(Base):
    """The raw files of one instrument module in one executed observation unit.

    The checksum is the sha256 over its files' lines "sha256  path", sorted by path. The lanes are the package's
    contribution to the fingerprint of every input set it belongs to; they are set together with the checksum.
    """

    __tablename__ = "raw_data_package"
    __table_args__ = (
        sa.CheckConstraint("state <> 'archived' OR checksum IS NOT NULL", name="archived_has_checksum"),
        sa.CheckConstraint("(checksum IS NULL) = (lane_0 IS NULL)", name="checksum_has_lanes"),
    )

    id: Mapped[PackageId] = mapped_column(BIG_ID, primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    executed_obs_unit_id: Mapped[int] = mapped_column(sa.ForeignKey("executed_obs_unit.id"), index=True)
    instrument_module_id: Mapped[int] = mapped_column(sa.ForeignKey("instrument_module.id"), index=True)
    state: Mapped[PackageState] = mapped_column(stored_enum(PackageState), index=True)
    checksum: Mapped[str | None] = mapped_column(sa.String(64))
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    created_at: Mapped[datetime]
    archived_at: Mapped[datetime | None] = mapped_column(index=True)
    lane_0: Mapped[int | None] = mapped_column(sa.BigInteger)
    lane_1: Mapped[int | None] = mapped_column(sa.BigInteger)
    lane_2: Mapped[int | None] = mapped_column(sa.BigInteger)

    files: Mapped[list["RawDataFile"]] = relationship(
        primaryjoin="and_(RawDataPackage.id == RawDataFile.raw_data_package_id,"
        " RawDataPackage.checksum == RawDataFile.package_checksum)",
        order_by="RawDataFile.path",
        viewonly=True,
    )
    executed_obs_unit: Mapped[ExecutedObsUnit] = relationship()
    instrument_module: Mapped[InstrumentModule] = relationship()

    def set_checksum(self, checksum: str) -> None:
        """Set checksum and lanes together; the lanes use the package's name, which is known before its id."""
        self.checksum = checksum
        self.lane_0, self.lane_1, self.lane_2 = Lanes.of("package", self.name, checksum).values


class RawDataFile(Base):
    """One raw file of a package, with the package's checksum at that time; the file's creator may assign its UUID.

    A package that is delivered again with other content gets new rows; the old ones record what runs have read.
    """

    __tablename__ = "raw_data_file"
    __table_args__ = (sa.UniqueConstraint("raw_data_package_id", "package_checksum", "path"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    raw_data_package_id: Mapped[PackageId] = mapped_column(sa.ForeignKey("raw_data_package.id"), index=True)
    package_checksum: Mapped[str] = mapped_column(sa.String(64))
    instrument_module_id: Mapped[int] = mapped_column(sa.ForeignKey("instrument_module.id"), index=True)
    path: Mapped[str] = mapped_column(sa.String(500))
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    sha256: Mapped[str] = mapped_column(sa.String(64))

    package: Mapped[RawDataPackage] = relationship(viewonly=True)

    @classmethod
    def of_today(cls) -> sa.ColumnElement[bool]:
        """Return the condition that a file belongs to its package's present content."""
        return cls.of(RawDataPackage.id, RawDataPackage.checksum)

    @classmethod
    def of(cls, package_id: Any, checksum: Any) -> sa.ColumnElement[bool]:
        """Return the condition that a file belongs to a package's content with this checksum."""
        return sa.and_(cls.raw_data_package_id == package_id, cls.package_checksum == checksum)
