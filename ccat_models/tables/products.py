import enum
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.tables.base import BIG_ID, Base, ProductId, RunId, stored_enum
from ccat_models.tables.execution import ExecutedReductionStep


class DataProductType(enum.Enum):
    """The types of products (container contract)."""

    SCIENCE = "science"
    QA_METRIC = "qa_metric"
    PLOT = "plot"
    STATISTICS = "statistics"
    LOG = "log"
    INTERMEDIATE = "intermediate"


# The types that later steps read; plots and logs are for people.
INPUT_TYPES = (
    DataProductType.SCIENCE,
    DataProductType.INTERMEDIATE,
    DataProductType.STATISTICS,
    DataProductType.QA_METRIC,
)


# The types that a purge removes; numbers, plots and logs remain as evidence.
REMOVABLE_TYPES = (DataProductType.SCIENCE, DataProductType.INTERMEDIATE)


class DataProduct(Base):
    """One file that a run made; `path` is relative to the attempt's output directory."""

    __tablename__ = "data_product"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "path"),
        sa.UniqueConstraint("id", "run_id"),
    )

    id: Mapped[ProductId] = mapped_column(BIG_ID, primary_key=True)
    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    type: Mapped[DataProductType] = mapped_column(stored_enum(DataProductType))
    path: Mapped[str] = mapped_column(sa.String(500))
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    sha256: Mapped[str] = mapped_column(sa.String(64), index=True)
    created_at: Mapped[datetime]
    extra: Mapped[dict[str, Any]] = mapped_column(default=dict)

    run: Mapped[ExecutedReductionStep] = relationship()


class QualityMetric(Base):
    """A number from a run's qa/*.json, with limits if the program gave any."""

    __tablename__ = "quality_metric"
    __table_args__ = (sa.UniqueConstraint("run_id", "name"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    data_product_id: Mapped[ProductId] = mapped_column(sa.ForeignKey("data_product.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    value: Mapped[float]
    minimum: Mapped[float | None]
    maximum: Mapped[float | None]

    @property
    def within_limits(self) -> bool:
        """Say whether the value is within its limits."""
        above = self.minimum is None or self.value >= self.minimum
        return above and (self.maximum is None or self.value <= self.maximum)
