import enum
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, PackageId, stored_enum


class Status(enum.Enum):
    """The states of a staging job (ops-db models)."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


OPEN = (Status.PENDING, Status.SCHEDULED, Status.IN_PROGRESS)
_OPEN_SQL = sa.text("status IN (" + ", ".join(f"'{status.value}'" for status in OPEN) + ")")


class StagingJob(Base):
    """The copying of a raw data package from an archive to a processing location, for all runs that read it.

    It ends with a STAGED copy: unpacked, with every file's checksum verified. `bytes_transferred` includes transfers
    that broke off.
    """

    __tablename__ = "staging_job"
    __table_args__ = (
        sa.Index(
            "uq_staging_job_open",
            "raw_data_package_id",
            "target_location_id",
            unique=True,
            sqlite_where=_OPEN_SQL,
        ),
        sa.Index("ix_staging_job_status", "target_location_id", "status"),
        sa.CheckConstraint("(status = 'failed') = (failure_message IS NOT NULL)", name="failed_says_why"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    raw_data_package_id: Mapped[PackageId] = mapped_column(BIG_ID, sa.ForeignKey("raw_data_package.id"), index=True)
    source_location_id: Mapped[int] = mapped_column(sa.Integer, sa.ForeignKey("data_location.id"))
    target_location_id: Mapped[int] = mapped_column(sa.Integer, sa.ForeignKey("data_location.id"))
    status: Mapped[Status] = mapped_column(stored_enum(Status))
    bytes_total: Mapped[int | None] = mapped_column(sa.BigInteger)
    bytes_transferred: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failure_message: Mapped[str | None]
