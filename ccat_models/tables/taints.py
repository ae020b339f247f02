from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, PackageId, RunId

_IS_ACTIVE = sa.text("lifted_at IS NULL")


class PackageTaint(Base):
    """The decision that a raw data package must not be used; it applies until it is lifted."""

    __tablename__ = "package_taint"
    __table_args__ = (
        sa.Index(
            "uq_package_taint_standing",
            "raw_data_package_id",
            unique=True,
            sqlite_where=_IS_ACTIVE,
        ),
        sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name="lifted_by_somebody"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    raw_data_package_id: Mapped[PackageId] = mapped_column(BIG_ID, sa.ForeignKey("raw_data_package.id"), index=True)
    reason: Mapped[str] = mapped_column(sa.String(1000))
    tainted_by: Mapped[str] = mapped_column(sa.String(200))
    tainted_at: Mapped[datetime]
    lifted_by: Mapped[str | None] = mapped_column(sa.String(200))
    lifted_at: Mapped[datetime | None]


class RunTaint(Base):
    """A run that has read a tainted package, or a product that was made from one."""

    __tablename__ = "run_taint"
    __table_args__ = (sa.Index("ix_run_taint_taint", "package_taint_id", "run_id"), {"sqlite_with_rowid": False})

    run_id: Mapped[RunId] = mapped_column(BIG_ID, sa.ForeignKey("executed_reduction_step.id"), primary_key=True)
    package_taint_id: Mapped[int] = mapped_column(sa.ForeignKey("package_taint.id"), primary_key=True)
