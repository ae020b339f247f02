import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, PackageId, ProductId, RunId


class RunInputPackage(Base):
    """Link package → run: the run read this package, with this checksum."""

    __tablename__ = "run_input_package"
    __table_args__ = (
        sa.Index("ix_run_input_package_package", "raw_data_package_id", "run_id"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[RunId] = mapped_column(BIG_ID, sa.ForeignKey("executed_reduction_step.id"), primary_key=True)
    raw_data_package_id: Mapped[PackageId] = mapped_column(
        BIG_ID, sa.ForeignKey("raw_data_package.id"), primary_key=True
    )
    checksum: Mapped[str] = mapped_column(sa.String(64))


class RunInputProduct(Base):
    """Link product → run: the run read this product of an earlier run.

    The producer is part of the link, so that the database can refuse cycles: the producer must be the older run.
    """

    __tablename__ = "run_input_product"
    __table_args__ = (
        sa.ForeignKeyConstraint(["data_product_id", "producer_run_id"], ["data_product.id", "data_product.run_id"]),
        sa.CheckConstraint("producer_run_id < run_id", name="made_before"),
        sa.Index("ix_run_input_product_product", "data_product_id", "run_id"),
        sa.Index("ix_run_input_product_producer", "run_id", "producer_run_id"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[RunId] = mapped_column(BIG_ID, sa.ForeignKey("executed_reduction_step.id"), primary_key=True)
    data_product_id: Mapped[ProductId] = mapped_column(primary_key=True)
    producer_run_id: Mapped[RunId]
    sha256: Mapped[str] = mapped_column(sa.String(64))
