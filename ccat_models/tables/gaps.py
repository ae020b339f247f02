"""The state of gaps between two looks: the changes that are still to be followed, and each sub-group's last evaluation.

All of it can be computed from the other tables. It has no foreign keys in either direction, so that writers of packages
and runs never wait for a look.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from ccat_models.tables.base import BIG_ID, Base, PackageId, RunId, StepId, SubGroupId


class PackageChange(Base):
    """A package that was added, changed or removed, recorded by triggers until the memberships have been updated.

    Without a package: all packages of the partitioning; without both: all packages of all partitionings.
    """

    __tablename__ = "package_change"

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    raw_data_package_id: Mapped[PackageId | None]
    partitioning_id: Mapped[int | None]


class SubGroupChange(Base):
    """A change that concerns a sub-group of a step, since its last evaluation; without a sub-group, all of the step."""

    __tablename__ = "sub_group_change"
    __table_args__ = (sa.Index("ix_sub_group_change_step", "step_id", "sub_group_id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId]
    sub_group_id: Mapped[SubGroupId | None]


class SubGroupGap(Base):
    """A sub-group of a step at its last evaluation: its one reason, its input set, and its runs.

    `alive`: it has archived packages. `will_run`: a run will be created, now or after its upstreams'. `current_run_id`:
    the run whose products later steps read; `purged`: these are purged. `inputs_since`: when its newest input arrived.
    `due_at`: when its reason changes without any other event.
    """

    __tablename__ = "sub_group_gap"
    __table_args__ = (
        sa.Index("ix_sub_group_gap_reason", "step_id", "reason"),
        sa.Index(
            "ix_sub_group_gap_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
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
    """The present or last round of a pipeline that is not continuous, and when its trigger fires next.

    In a round, root steps use the inputs that had arrived when it began; it ends when nothing is left to run.
    """

    __tablename__ = "pipeline_round"

    pipeline_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begun_at: Mapped[datetime | None]
    begun_by: Mapped[str | None] = mapped_column(sa.String(800))
    is_new: Mapped[bool] = mapped_column(default=False)  # begun since the last look
    ended_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    trigger: Mapped[str | None] = mapped_column(sa.String(700))  # from which `next_at` was computed


class ReasonCount(Base):
    """How many sub-groups of a step had a reason from a minute on, until the next row of the same step and reason."""

    __tablename__ = "reason_count"
    __table_args__ = (sa.Index("ix_reason_count_step_reason", "step_id", "reason", "id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId]
    reason: Mapped[str] = mapped_column(sa.String(32))
    count: Mapped[int]
    at: Mapped[datetime]
