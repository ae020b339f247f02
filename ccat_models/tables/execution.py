import enum
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ccat_models.fingerprint import Fingerprint, Lanes
from ccat_models.tables.base import BIG_ID, AttemptId, Base, RunId, StepId, SubGroupId, stored_enum
from ccat_models.tables.pipelines import (
    ReductionSoftwareVersion,
    ReductionStep,
    ReductionStepConfig,
    ReductionStepRevision,
    SubGroup,
)


class RunStatus(enum.Enum):
    """The states of a run (workflow manager, execution flow)."""

    PENDING = "PENDING"
    STAGING_DATA = "STAGING_DATA"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    COLLECTING_RESULTS = "COLLECTING_RESULTS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


IN_FLIGHT = (
    RunStatus.PENDING,
    RunStatus.STAGING_DATA,
    RunStatus.SUBMITTED,
    RunStatus.RUNNING,
    RunStatus.COLLECTING_RESULTS,
)
ENDED_BADLY = (RunStatus.FAILED, RunStatus.CANCELLED)
ENDED = (RunStatus.COMPLETED, *ENDED_BADLY)
_IN_FLIGHT_SQL = "status IN (" + ", ".join(f"'{status.value}'" for status in IN_FLIGHT) + ")"


class FailureClass(enum.Enum):
    """Why an attempt failed, classified by what to do next; each class has its own number of retries."""

    INFRASTRUCTURE = "infrastructure"
    SCIENCE = "science"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    COLLECTION = "collection"
    STAGING = "staging"
    LOST = "lost"
    PERMANENT = "permanent"


class RunStatusTransition(Base):
    """The legal changes of a run's status; the migration fills it from the table in the code."""

    __tablename__ = "run_status_transition"

    from_status: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    to_status: Mapped[str] = mapped_column(sa.String(32), primary_key=True)


class ExecutedReductionStep(Base):
    """A run: one step on one sub-group with one input set, one configuration and one software version.

    At most one run of a step and sub-group is in flight: a partial unique index guarantees it. The output lanes are the
    sum over the products that are inputs for later steps, known once the run is completed. A run with
    `regenerates_run_id` regenerates the purged products of another run from the same inputs; it is a result of its
    sub-group (`is_result`), as every other run is, only if its products differ.
    """

    __tablename__ = "executed_reduction_step"
    __table_args__ = (
        sa.Index(
            "uq_executed_reduction_step_in_flight",
            "step_id",
            "sub_group_id",
            unique=True,
            sqlite_where=sa.text(_IN_FLIGHT_SQL),
        ),
        sa.Index("ix_executed_reduction_step_step_sub_group", "step_id", "sub_group_id", "status"),
        sa.Index("ix_executed_reduction_step_step_status", "step_id", "status", "id"),
        sa.Index("ix_executed_reduction_step_step_ended", "step_id", "status", "status_changed_at", "id"),
        sa.Index("ix_executed_reduction_step_software_version", "software_version_id", "id"),
        sa.Index("ix_executed_reduction_step_config", "config_id", "id"),
        sa.ForeignKeyConstraint(
            ["step_revision_id", "step_id"], ["reduction_step_revision.id", "reduction_step_revision.step_id"]
        ),
        sa.CheckConstraint("status <> 'COMPLETED' OR output_count IS NOT NULL", name="completed_has_outputs"),
        sa.CheckConstraint("status <> 'FAILED' OR failure_class IS NOT NULL", name="failed_has_class"),
        sa.CheckConstraint("regenerates_run_id < id", name="made_again_after"),
        sa.CheckConstraint("is_result OR regenerates_run_id IS NOT NULL", name="stands_unless_made_again"),
    )

    id: Mapped[RunId] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId] = mapped_column(sa.ForeignKey("reduction_step.id"))
    step_revision_id: Mapped[int]
    sub_group_id: Mapped[SubGroupId] = mapped_column(sa.ForeignKey("sub_group.id"), index=True)
    software_version_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_software_version.id"))
    config_id: Mapped[int] = mapped_column(sa.ForeignKey("reduction_step_config.id"))
    status: Mapped[RunStatus] = mapped_column(stored_enum(RunStatus), index=True)
    status_changed_at: Mapped[datetime]
    failure_class: Mapped[FailureClass | None] = mapped_column(stored_enum(FailureClass))
    failure_message: Mapped[str | None]
    reason: Mapped[str] = mapped_column(sa.String(32))
    requested_by: Mapped[str] = mapped_column(sa.String(200))
    priority: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[str | None] = mapped_column(sa.String(200))
    not_before: Mapped[datetime | None]
    input_count: Mapped[int]
    input_lane_0: Mapped[int] = mapped_column(sa.BigInteger)
    input_lane_1: Mapped[int] = mapped_column(sa.BigInteger)
    input_lane_2: Mapped[int] = mapped_column(sa.BigInteger)
    output_count: Mapped[int | None]
    output_lane_0: Mapped[int | None] = mapped_column(sa.BigInteger)
    output_lane_1: Mapped[int | None] = mapped_column(sa.BigInteger)
    output_lane_2: Mapped[int | None] = mapped_column(sa.BigInteger)
    published_at: Mapped[datetime | None] = mapped_column(index=True)
    regenerates_run_id: Mapped[RunId | None] = mapped_column(sa.ForeignKey("executed_reduction_step.id"), index=True)
    is_result: Mapped[bool] = mapped_column(default=True, server_default=sa.text("true"))

    step: Mapped[ReductionStep] = relationship()
    step_revision: Mapped[ReductionStepRevision] = relationship(
        primaryjoin="ExecutedReductionStep.step_revision_id == ReductionStepRevision.id",
        foreign_keys="ExecutedReductionStep.step_revision_id",
        viewonly=True,
    )
    sub_group: Mapped[SubGroup] = relationship()
    software_version: Mapped[ReductionSoftwareVersion] = relationship()
    config: Mapped[ReductionStepConfig] = relationship()
    attempts: Mapped[list["Attempt"]] = relationship(back_populates="run", order_by="Attempt.number")

    @property
    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the run's input set."""
        return Fingerprint(self.input_count, Lanes((self.input_lane_0, self.input_lane_1, self.input_lane_2)))


class AttemptState(enum.Enum):
    """How far an attempt's job is, as far as is known."""

    INTENDED = "INTENDED"  # committed, not sent yet
    SENDING = "SENDING"  # being sent, or in doubt whether it was accepted: ask the back end before sending again
    SENT = "SENT"  # the back end accepted it
    RUNNING = "RUNNING"  # the back end says it runs
    ENDED = "ENDED"  # collected, failed or cancelled


MAY_LEAVE_JOB = "(sends > 1 OR failure_class = 'lost')"  # an ended attempt's job may be in the queue


class Purpose(enum.Enum):
    """What an attempt is made for."""

    EXECUTE = "execute"  # to complete its run
    REPRODUCE = "reproduce"  # to execute a completed run again, beside it: nothing of the run changes


WAITED_FOR = "wanted_until IS NOT NULL"  # of attempts that reproduce: the few that still concern the executor


class Attempt(Base):
    """One try at a run: one submission key, one directory, at most one execution.

    Attempts are sent in batches. The batch's key is the job's name in the back end; the attempt keeps its index in the
    batch when it is sent again.
    Attempts that execute the run have the numbers 1, 2, …; those that reproduce it -1, -2, …. So the numbers of the two
    never collide, and the attempt with the highest number is the last one that executed the run.
    A reproducing attempt is needed until `wanted_until`, which the waiting process extends. The time is empty once its
    files were compared, kept or removed.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "number"),
        sa.Index(
            "ix_attempt_may_leave_job",
            "finished_at",
            sqlite_where=sa.text(MAY_LEAVE_JOB),
        ),
        sa.Index(
            "ix_attempt_waited_for",
            "wanted_until",
            sqlite_where=sa.text(WAITED_FOR),
        ),
    )

    id: Mapped[AttemptId] = mapped_column(BIG_ID, primary_key=True)
    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    number: Mapped[int]
    submission_key: Mapped[str] = mapped_column(sa.String(32), unique=True)
    state: Mapped[AttemptState] = mapped_column(stored_enum(AttemptState), index=True)
    backend: Mapped[str] = mapped_column(sa.String(32))
    directory: Mapped[str | None] = mapped_column(sa.String(1000))
    batch_key: Mapped[str | None] = mapped_column(sa.String(32), index=True)
    batch_index: Mapped[int | None]
    sends: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]  # when it was last sent, or since when it is in doubt whether it was accepted
    missing_since: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failure_class: Mapped[FailureClass | None] = mapped_column(stored_enum(FailureClass))
    failure_message: Mapped[str | None]
    evidence: Mapped[dict[str, Any] | None]
    runtime: Mapped[str | None] = mapped_column(sa.String(32))
    command: Mapped[list[str] | None]
    image_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    host: Mapped[str | None] = mapped_column(sa.String(200), index=True)
    exit_code: Mapped[int | None]
    wall_seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    resources: Mapped[dict[str, Any]]
    purpose: Mapped[Purpose] = mapped_column(
        stored_enum(Purpose), default=Purpose.EXECUTE, server_default=Purpose.EXECUTE.value
    )
    wanted_until: Mapped[datetime | None]

    run: Mapped[ExecutedReductionStep] = relationship(back_populates="attempts")


class RunStatusHistory(Base):
    """Every change of a run's status; a database trigger appends it, and it is never edited."""

    __tablename__ = "run_status_history"
    __table_args__ = (sa.Index("ix_run_status_history_run", "run_id", "id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    from_status: Mapped[str | None] = mapped_column(sa.String(32))
    to_status: Mapped[str] = mapped_column(sa.String(32))
    at: Mapped[datetime]


class RerunRequest(Base):
    """A request to run a sub-group again: it renews the retries, and with `force` opens a gap in any state."""

    __tablename__ = "rerun_request"
    __table_args__ = (sa.Index("ix_rerun_request_step_sub_group", "step_id", "sub_group_id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId] = mapped_column(sa.ForeignKey("reduction_step.id"))
    sub_group_id: Mapped[SubGroupId] = mapped_column(sa.ForeignKey("sub_group.id"))
    force: Mapped[bool]
    requested_at: Mapped[datetime]
    requested_by: Mapped[str] = mapped_column(sa.String(200))
    last_run_id: Mapped[RunId | None] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))


class CircuitReset(Base):
    """A reset of a step's circuit: science failures of the runs up to `last_run_id` no longer count."""

    __tablename__ = "circuit_reset"

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    step_id: Mapped[StepId] = mapped_column(sa.ForeignKey("reduction_step.id"), index=True)
    last_run_id: Mapped[RunId | None] = mapped_column(sa.ForeignKey("executed_reduction_step.id"))
    reset_at: Mapped[datetime]
    reset_by: Mapped[str] = mapped_column(sa.String(200))


class RunWaiter(Base):
    """A Dagster run or a command that waits for a run; it last reported at `seen_at`."""

    __tablename__ = "run_waiter"

    run_id: Mapped[RunId] = mapped_column(sa.ForeignKey("executed_reduction_step.id"), primary_key=True)
    waiter: Mapped[str] = mapped_column(sa.String(200), primary_key=True, index=True)
    seen_at: Mapped[datetime]


class ObserverLease(Base):
    """The lease on a cluster: its holder alone may ask for the state of the cluster's jobs, until it expires."""

    __tablename__ = "observer_lease"

    cluster: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    holder: Mapped[str | None] = mapped_column(sa.String(100))
    generation: Mapped[int] = mapped_column(default=0)  # number of changes of the holder
    expires_at: Mapped[datetime | None]
    observed_at: Mapped[datetime | None]
