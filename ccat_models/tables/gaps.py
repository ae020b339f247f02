"""What is known of gaps between two looks: which changes are still to be followed, and what each sub-group was then.

All of it can be computed anew from the other tables; nothing refers to it, and it refers to nothing by a foreign key,
so that whoever writes a package or a run never waits for whoever looks.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, PackageId, RunId, StepId, SubGroupId


class PackageChange(Base):
    """A package that came, changed or went, noted by the database's triggers until memberships have followed.

    Without a package: a partitioning whose every package is to be looked at, or without that too, all of them.
    """

    __tablename__ = "package_change"

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    raw_data_package_id: Mapped[PackageId | None]
    partitioning_id: Mapped[int | None]


class SubGroupChange(Base):
    """A sub-group of a step about which something changed since its gap was looked at; without one, all of them."""

    __tablename__ = "sub_group_change"
    __table_args__ = (sa.Index("ix_sub_group_change_step", "step_id", "sub_group_id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId]
    sub_group_id: Mapped[SubGroupId | None]


class SubGroupGap(Base):
    """What a sub-group of a step was when it was last looked at: its one reason, its input set, the runs it has.

    `alive`: it has archived packages. `will_run`: now, or once its upstreams have been run. `current_run_id`: the run
    whose products downstream steps read; `purged`: these are not there now. `inputs_since`: when the newest of its
    inputs came. `due_at`: when the passing of time alone gives it another reason.
    """

    __tablename__ = "sub_group_gap"
    __table_args__ = (
        sa.Index("ix_sub_group_gap_reason", "step_id", "reason"),
        sa.Index(
            "ix_sub_group_gap_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
        sa.Index("ix_sub_group_gap_sub_group", "sub_group_id"),
        {"sqlite_with_rowid": False},
    )

    step_id: Mapped[StepId] = mapped_column(primary_key=True, autoincrement=False)
    sub_group_id: Mapped[SubGroupId] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(sa.String(32))
    input_count: Mapped[int] = mapped_column(sa.BigInteger)
    lane_0: Mapped[int] = mapped_column(sa.BigInteger)
    lane_1: Mapped[int] = mapped_column(sa.BigInteger)
    lane_2: Mapped[int] = mapped_column(sa.BigInteger)
    alive: Mapped[int] = mapped_column(sa.SmallInteger)
    will_run: Mapped[int] = mapped_column(sa.SmallInteger)
    acceptable_run_id: Mapped[RunId | None]
    current_run_id: Mapped[RunId | None]
    latest_run_id: Mapped[RunId | None]
    purged: Mapped[int] = mapped_column(sa.SmallInteger)
    inputs_since: Mapped[datetime | None]
    due_at: Mapped[datetime | None]


class StepLook(Base):
    """When a step's gaps were last looked at, and whether its circuit was open then."""

    __tablename__ = "step_look"

    step_id: Mapped[StepId] = mapped_column(primary_key=True, autoincrement=False)
    looked_at: Mapped[datetime]
    circuit_open: Mapped[bool]


class PipelineRound(Base):
    """Since when a pipeline that is not continuous is worked on, until when, and when its trigger fires next.

    In a round, root steps take what had come when it began; it ends when nothing more can be run.
    """

    __tablename__ = "pipeline_round"

    pipeline_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begun_at: Mapped[datetime | None]
    begun_by: Mapped[str | None] = mapped_column(sa.String(800))
    is_new: Mapped[bool] = mapped_column(default=False)  # begun since somebody looked
    ended_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    trigger: Mapped[str | None] = mapped_column(sa.String(700))  # the expression and time zone that `next_at` is of


class ReasonCount(Base):
    """How many sub-groups of a step had a reason from a minute on, until the next row of that step and reason."""

    __tablename__ = "reason_count"
    __table_args__ = (sa.Index("ix_reason_count_step_reason", "step_id", "reason", "id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId]
    reason: Mapped[str] = mapped_column(sa.String(32))
    count: Mapped[int]
    at: Mapped[datetime]
