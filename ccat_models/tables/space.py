"""The space that products take up, pins, and purges."""

import enum
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, ProductId, RunId, StepId, SubGroupId, stored_enum

_IS_ACTIVE = sa.text("unpinned_at IS NULL")


class SpaceState(enum.Enum):
    """The states of a run's removable products.

    PRESENT ── marked ──► MARKED ── removed ──► PURGED ── regenerated ────────────────► PRESENT
                                                   ├── regenerated differently ────► REPLACED
                                                   └── cannot be regenerated ──────► LOST
    """

    PRESENT = "PRESENT"
    MARKED = "MARKED"
    PURGED = "PURGED"
    REPLACED = "REPLACED"
    LOST = "LOST"


NOT_THERE = (SpaceState.MARKED, SpaceState.PURGED)  # and can be regenerated
GONE = (SpaceState.REPLACED, SpaceState.LOST)  # permanently


class RunSpace(Base):
    """The space that a completed run's products take up at the processing location, and their state.

    Removable are the types science and intermediate; the others remain as evidence. Removable products are removed and
    regenerated together. `size_bytes` counts the products that exist, `made_bytes` all that were made. After a
    restoration, the products are in the last attempt directory of the run `restored_by_run_id`.
    """

    __tablename__ = "run_space"
    __table_args__ = (
        sa.Index("ix_run_space_state", "state", "data_location_id", "last_used_at", "run_id"),
        sa.Index("ix_run_space_purge", "purge_id"),
        sa.CheckConstraint("(state = 'REPLACED') = (replaced_by_run_id IS NOT NULL)", name="replaced_by_a_run"),
    )

    run_id: Mapped[RunId] = mapped_column(
        BIG_ID, sa.ForeignKey("executed_reduction_step.id"), primary_key=True, autoincrement=False
    )
    step_id: Mapped[StepId] = mapped_column(BIG_ID, sa.ForeignKey("reduction_step.id"))
    sub_group_id: Mapped[SubGroupId] = mapped_column(BIG_ID, sa.ForeignKey("sub_group.id"))
    data_location_id: Mapped[int] = mapped_column(sa.Integer, sa.ForeignKey("data_location.id"))
    state: Mapped[SpaceState] = mapped_column(stored_enum(SpaceState))
    changed_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    made_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    removable_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    removable_files: Mapped[int]
    has_science: Mapped[bool]
    purge_id: Mapped[int | None] = mapped_column(sa.ForeignKey("purge.id"))
    restored_by_run_id: Mapped[RunId | None] = mapped_column(BIG_ID, sa.ForeignKey("executed_reduction_step.id"))
    replaced_by_run_id: Mapped[RunId | None] = mapped_column(
        BIG_ID, sa.ForeignKey("executed_reduction_step.id"), index=True
    )


class Purge(Base):
    """A removal of products, requested by a user or by the watermark: what was wanted, and what was removed."""

    __tablename__ = "purge"

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    data_location_id: Mapped[int] = mapped_column(sa.Integer, sa.ForeignKey("data_location.id"), index=True)
    requested_by: Mapped[str] = mapped_column(sa.String(200))
    reason: Mapped[str] = mapped_column(sa.String(1000))
    marked_at: Mapped[datetime]
    wanted_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    marked_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    marked_runs: Mapped[int]
    freed_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    freed_runs: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None]
    problem: Mapped[str | None]


class ProductPin(Base):
    """The decision to keep a product, regardless of its step's retention, until it is unpinned."""

    __tablename__ = "product_pin"
    __table_args__ = (
        sa.Index(
            "uq_product_pin_standing",
            "data_product_id",
            unique=True,
            sqlite_where=_IS_ACTIVE,
        ),
        sa.Index("ix_product_pin_run", "run_id"),
        sa.ForeignKeyConstraint(["data_product_id", "run_id"], ["data_product.id", "data_product.run_id"]),
        sa.CheckConstraint("(unpinned_at IS NULL) = (unpinned_by IS NULL)", name="unpinned_by_somebody"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    data_product_id: Mapped[ProductId]
    run_id: Mapped[RunId]
    reason: Mapped[str] = mapped_column(sa.String(1000))
    pinned_by: Mapped[str] = mapped_column(sa.String(200))
    pinned_at: Mapped[datetime]
    unpinned_by: Mapped[str | None] = mapped_column(sa.String(200))
    unpinned_at: Mapped[datetime | None]
