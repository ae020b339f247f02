"""Reading the work of a cluster's lease holder: attempts to take up, to send, to observe and to cancel."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, RunId, StepId
from ccat_models.tables.execution import (
    IN_FLIGHT,
    MAY_LEAVE_JOB,
    Attempt,
    AttemptState,
    FailureClass,
    Purpose,
    RunStatus,
)
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep, ReductionStepRevision
from ccat_models.tables.space import RunSpace

MOVING = (RunStatus.STAGING_DATA, RunStatus.SUBMITTED, RunStatus.RUNNING)


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that has not ended, with what is needed to continue it. Every tick reads those of a location.

    `run_status` is the status of its run. For an attempt that reproduces a run it is the status that a run with this
    attempt would have.
    """

    id: AttemptId
    run_id: RunId
    number: int
    submission_key: str
    state: AttemptState
    run_status: RunStatus
    directory: str | None
    sent_at: datetime | None
    missing_since: datetime | None
    cancel_requested_at: datetime | None
    resources: dict[str, Any]
    batch_key: str | None
    batch_index: int | None
    sends: int
    job_id: str | None
    evidence: dict[str, Any] | None
    purpose: Purpose = Purpose.EXECUTE

    @property
    def cancel_requested(self) -> bool:
        """Say whether it is to be cancelled: on request, or as no process waits for it any longer."""
        return self.cancel_requested_at is not None


@dataclass(frozen=True)
class LeftBehind:
    """An attempt that has ended and may have left a job in the queue: it was sent more than once, or was lost."""

    submission_key: str
    batch_key: str | None
    batch_index: int | None
    job_id: str | None
    is_lost: bool


def take_up(
    session: Session,
    location_id: int,
    backend: str,
    limit: int,
    now: datetime,
    only: Collection[RunId] | None = None,
) -> int:
    """Move up to `limit` runs of a location from PENDING to STAGING_DATA, for this back end; return their number.

    Runs of high priority come first, then the oldest; `only` selects some of them.
    """
    ready = _ready(location_id, now).order_by(Run.priority.desc(), Run.id).limit(limit)
    if only is not None:
        ready = ready.where(Run.id.in_(only))
    moved = move(session, session.scalars(ready).all(), RunStatus.STAGING_DATA, now)
    session.execute(
        sa.update(Attempt)
        .where(Attempt.run_id.in_(moved), Attempt.state == AttemptState.INTENDED, Attempt.backend != backend)
        .values(backend=backend)
        .execution_options(synchronize_session=False)
    )
    return len(moved)


def intended_attempt(session: Session, run_id: RunId) -> AttemptId:
    """Return the attempt of a run that is not sent yet."""
    query = sa.select(Attempt.id).where(Attempt.run_id == run_id, Attempt.state == AttemptState.INTENDED)
    return session.scalars(query).one()


def anything_ready(session: Session, location_id: int, now: datetime) -> bool:
    """Say whether a run waits to be taken up."""
    return bool(session.scalar(sa.select(_ready(location_id, now).exists())))


def ready_runs(
    session: Session, location_id: int, limit: int, now: datetime
) -> Sequence[tuple[RunId, StepId, int | None]]:
    """Return the next runs to take up as (run, step, size), by priority, then runs of later steps first.

    `size` is the number of bytes that were removed of the products that the run regenerates; None for other runs.
    """
    query = (
        _ready(location_id, now)
        .add_columns(Run.step_id, RunSpace.removable_bytes)
        .join(ReductionStepRevision, ReductionStepRevision.id == Run.step_revision_id)
        .outerjoin(RunSpace, RunSpace.run_id == Run.regenerates_run_id)
        .order_by(Run.priority.desc(), ReductionStepRevision.order.desc(), Run.id)
        .limit(limit)
    )
    return [(run_id, step, size) for run_id, step, size in session.execute(query)]


def being_staged(session: Session, location_id: int, backend: str) -> int:
    """Return the number of runs that are taken up and not known to be accepted."""
    query = sa.select(sa.func.count()).select_from(Attempt).join(Run, Run.id == Attempt.run_id)
    return session.scalar(query.where(*_is_open(location_id, backend, (RunStatus.STAGING_DATA,)))) or 0


def latest_cancel_request(session: Session, location_id: int, now: datetime) -> datetime | None:
    """Return when a cancellation was last requested, or a reproduction lost its waiting process.

    Times after `now` are ignored.
    """
    query = sa.select(sa.func.max(Run.cancel_requested_at)).where(Run.cancel_requested_at <= now)
    runs = session.scalar(query.where(Run.status.in_(IN_FLIGHT), Run.step_id.in_(_steps_of(location_id))))
    lapsed = (*is_waited_for(location_id), Attempt.wanted_until <= now, Attempt.state != AttemptState.ENDED)
    latest = sa.select(sa.func.max(Attempt.wanted_until)).join(Run, Run.id == Attempt.run_id)
    attempts = session.scalar(latest.where(*lapsed))
    return max((at for at in (runs, attempts) if at is not None), default=None)


def open_attempts(
    session: Session,
    location_id: int,
    backend: str,
    *,
    statuses: Collection[RunStatus] = MOVING,
    keys: Collection[str] | None = None,
) -> Sequence[OpenAttempt]:
    """Return the attempts of this location and back end that are taken up and have not ended, oldest first.

    Only those of runs with these statuses, and with these submission keys if any are given.
    """
    opened = _is_open(location_id, backend, statuses)
    return _read(session, (Run.status, Run.cancel_requested_at), opened, keys)


def open_reproductions(
    session: Session, location_id: int, backend: str, now: datetime, *, keys: Collection[str] | None = None
) -> Sequence[OpenAttempt]:
    """Return the attempts of this location and back end that reproduce runs and have not ended, oldest first.

    One that is not laid out yet is returned only if no process waits for it any more: it is to be cancelled.
    """
    status = sa.case(
        (Attempt.state == AttemptState.SENT, RunStatus.SUBMITTED.value),
        (Attempt.state == AttemptState.RUNNING, RunStatus.RUNNING.value),
        else_=RunStatus.STAGING_DATA.value,
    )
    lapsed = Attempt.wanted_until <= now
    opened = (
        *is_waited_for(location_id),
        Attempt.backend == backend,
        Attempt.state != AttemptState.ENDED,
        sa.or_(lapsed, Attempt.runtime.is_not(None)),
    )
    columns = (sa.type_coerce(status, Run.status.type), sa.case((lapsed, Attempt.wanted_until)))
    return _read(session, columns, opened, keys)


def _read(
    session: Session,
    run_columns: tuple[Any, Any],
    conditions: Sequence[sa.ColumnElement[bool]],
    keys: Collection[str] | None,
) -> Sequence[OpenAttempt]:
    status, cancel_requested_at = run_columns
    query = (
        sa.select(
            Attempt.id,
            Attempt.run_id,
            Attempt.number,
            Attempt.submission_key,
            Attempt.state,
            status,
            Attempt.directory,
            Attempt.sent_at,
            Attempt.missing_since,
            cancel_requested_at,
            Attempt.resources,
            Attempt.batch_key,
            Attempt.batch_index,
            Attempt.sends,
            Attempt.job_id,
            Attempt.evidence,
            Attempt.purpose,
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(*conditions)
        .order_by(Attempt.id)
    )
    if keys is not None:
        query = query.where(Attempt.submission_key.in_(keys))
    return [OpenAttempt(*row) for row in session.execute(query).tuples()]


def left_behind(session: Session, location_id: int, backend: str, since: datetime) -> Sequence[LeftBehind]:
    """Return the attempts of this location and back end that ended since then and may have left a job."""
    ended = aliased(Attempt)
    may_leave = sa.select(ended.id).where(sa.text(MAY_LEAVE_JOB), ended.finished_at >= since)
    query = (
        sa.select(
            Attempt.submission_key,
            Attempt.batch_key,
            Attempt.batch_index,
            Attempt.job_id,
            sa.func.coalesce(Attempt.failure_class == FailureClass.LOST, sa.false()),
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(
            Attempt.id.in_(may_leave),
            Attempt.state == AttemptState.ENDED,
            Attempt.backend == backend,
            Run.step_id.in_(_steps_of(location_id)),
        )
    )
    return [LeftBehind(*row) for row in session.execute(query).tuples()]


def anything_to_do(session: Session, location_id: int) -> bool:
    """Say whether any run of this processing location is in flight, or reproduced: two indexed queries."""
    return _any(session, location_id, IN_FLIGHT)


def any_job_possible(session: Session, location_id: int) -> bool:
    """Say whether any run of this processing location may have a job, of its own or one that reproduces it."""
    return _any(session, location_id, MOVING)


def _any(session: Session, location_id: int, statuses: Collection[RunStatus]) -> bool:
    found = sa.select(Run.id).where(Run.status.in_(statuses), Run.step_id.in_(_steps_of(location_id)))
    again = sa.select(Attempt.id).join(Run, Run.id == Attempt.run_id).where(*is_waited_for(location_id))
    return bool(session.scalar(sa.select(sa.or_(found.exists(), again.exists()))))


def is_waited_for(location_id: int) -> Sequence[sa.ColumnElement[bool]]:
    """Return whether an attempt of this location reproduces its run and still concerns the executor."""
    return Attempt.wanted_until.is_not(None), Run.step_id.in_(_steps_of(location_id))


def _ready(location_id: int, now: datetime) -> sa.Select[tuple[RunId]]:
    return (
        sa.select(Run.id)
        .join(Attempt, sa.and_(Attempt.run_id == Run.id, Attempt.state == AttemptState.INTENDED))
        .where(
            Run.status == RunStatus.PENDING,
            Run.step_id.in_(_steps_of(location_id)),
            sa.or_(Run.not_before.is_(None), Run.not_before <= now),
        )
    )


def _is_open(location_id: int, backend: str, statuses: Collection[RunStatus]) -> Sequence[sa.ColumnElement[bool]]:
    return (
        Attempt.backend == backend,
        Run.step_id.in_(_steps_of(location_id)),
        Attempt.state != AttemptState.ENDED,
        Run.status.in_(statuses),
    )


def _steps_of(location_id: int) -> sa.Select[tuple[StepId]]:
    steps = sa.select(ReductionStep.id).join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
    return steps.where(Pipeline.processing_location_id == location_id)
