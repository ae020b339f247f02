from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import BIG_ID, Base, RunId
from ccat_models.tables.execution import ExecutedReductionStep

_IS_CURRENT = sa.text("superseded_at IS NULL")


class QualityCheck(Base):
    """The result of one of the step's declared limits for a run, from the number that the run's program gave.

    `value` is None if the program gave none. A result is current until a changed declaration supersedes it.
    """

    __tablename__ = "quality_check"
    __table_args__ = (
        sa.Index(
            "uq_quality_check_standing",
            "run_id",
            "name",
            unique=True,
            sqlite_where=_IS_CURRENT,
        ),
        sa.Index("ix_quality_check_run", "run_id"),
        sa.CheckConstraint("passed = false OR value IS NOT NULL", name="passed_has_value"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    name: Mapped[str] = mapped_column(sa.String(100))
    metric: Mapped[str] = mapped_column(sa.String(200))
    value: Mapped[float | None]
    minimum: Mapped[float | None]
    maximum: Mapped[float | None]
    blocking: Mapped[bool]
    passed: Mapped[bool]
    judged_at: Mapped[datetime]
    superseded_at: Mapped[datetime | None]

    run: Mapped[ExecutedReductionStep] = relationship()
    waiver: Mapped["QualityWaiver | None"] = relationship(back_populates="check")


class QualityWaiver(Base):
    """The decision to accept a run's products although this check failed."""

    __tablename__ = "quality_waiver"

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    quality_check_id: Mapped[int] = mapped_column(sa.ForeignKey("quality_check.id"), unique=True)
    reason: Mapped[str] = mapped_column(sa.String(1000))
    waived_by: Mapped[str] = mapped_column(sa.String(200))
    waived_at: Mapped[datetime]

    check: Mapped[QualityCheck] = relationship(back_populates="waiver")
