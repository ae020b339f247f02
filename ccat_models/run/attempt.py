"""What becomes of an attempt; each function is one transaction's worth of change."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.contract.result import Result
from ccat_models.run.request import add_attempt
from ccat_models.run.retry import delay, escalate, may_retry
from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, AttemptState, FailureClass, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run


def sending(session: Session, directories: Mapping[AttemptId, tuple[str, str, list[str]]], now: datetime) -> None:
    """Commit the intent before anything is sent: directory, runtime and command of each attempt."""
    for attempt_id, (directory, runtime, command) in directories.items():
        session.execute(
            sa.update(Attempt)
            .where(Attempt.id == attempt_id, Attempt.state.in_((AttemptState.INTENDED, AttemptState.SENDING)))
            .values(state=AttemptState.SENDING, directory=directory, runtime=runtime, command=command, sent_at=now)
        )


def sent(session: Session, attempts: Collection[tuple[AttemptId, RunId]], now: datetime) -> None:
    """The back end has accepted these, or was found to have them."""
    _set(session, [attempt for attempt, _ in attempts], state=AttemptState.SENT, missing_since=None)
    move(session, [run for _, run in attempts], RunStatus.SUBMITTED, now)


def running(session: Session, attempt: AttemptId, run: RunId, job_id: str, now: datetime) -> None:
    """The back end says that the job runs."""
    _set(session, [attempt], state=AttemptState.RUNNING, job_id=job_id, missing_since=None)
    move(session, [run], RunStatus.RUNNING, now)


def missing(session: Session, attempt: AttemptId, now: datetime) -> None:
    """The job is not in the queue and has left no result: since now, until it is seen again or given up."""
    _set(session, [attempt], missing_since=now)


def seen_again(session: Session, attempts: Collection[AttemptId]) -> None:
    """The jobs are in the queue after all: the next time they are missing counts from then."""
    if attempts:
        _set(session, attempts, missing_since=None)


def cancelled(session: Session, attempt: AttemptId, run: RunId, now: datetime, result: Result | None = None) -> None:
    """The job is gone and somebody had asked for that."""
    measures = _measures(result) if result else {"finished_at": now}
    _set(session, [attempt], state=AttemptState.ENDED, **measures)
    move(session, [run], RunStatus.CANCELLED, now)


def failed(
    session: Session,
    attempt_id: AttemptId,
    failure: FailureClass,
    message: str,
    now: datetime,
    *,
    result: Result | None = None,
    evidence: dict[str, Any] | None = None,
) -> RunStatus:
    """End an attempt as failed and, within the class's budget, make the next one; return the run's status then.

    A run that somebody wants cancelled is not tried again.
    """
    attempt = session.get_one(Attempt, attempt_id, with_for_update=True)  # of two who say so, one makes the retry
    run = session.get_one(Run, attempt.run_id)
    if attempt.state is AttemptState.ENDED:
        return run.status
    measures = _measures(result) if result else {"finished_at": now}
    _set(
        session,
        [attempt_id],
        state=AttemptState.ENDED,
        failure_class=failure,
        failure_message=message,
        evidence=evidence,
        **measures,
    )
    if not move(session, [run.id], RunStatus.FAILED, now, failure=(failure, message)):
        return run.status
    past = session.scalars(sa.select(Attempt.failure_class).where(Attempt.run_id == run.id)).all()
    if run.cancel_requested_at is None and may_retry(failure, past, run.step_revision.retries):
        _try_again(session, run, attempt, failure, list(past), now)
        return RunStatus.PENDING
    return RunStatus.FAILED


def ended_well(session: Session, attempt: AttemptId, result: Result) -> None:
    """Record how an attempt that completed went."""
    _set(session, [attempt], state=AttemptState.ENDED, **_measures(result))


def _try_again(
    session: Session,
    run: Run,
    attempt: Attempt,
    failure: FailureClass,
    past: list[FailureClass | None],
    now: datetime,
) -> None:
    resources = escalate(failure, attempt.resources, run.step_revision.escalation)
    add_attempt(session, run.id, attempt.number + 1, attempt.backend, resources, now)
    wait = delay(failure, past.count(failure))
    session.execute(sa.update(Run).where(Run.id == run.id).values(not_before=now + wait))
    move(session, [run.id], RunStatus.PENDING, now)


def _measures(result: Result) -> dict[str, Any]:
    return {
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "exit_code": result.exit_code,
        "wall_seconds": result.wall_seconds,
        "cpu_seconds": result.cpu_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "host": result.host,
        "job_id": result.job_id,
        "runtime": result.runtime,
        "image_sha256": result.image_sha256,
    }


def _set(session: Session, attempts: Collection[AttemptId], **values: Any) -> None:
    session.execute(
        sa.update(Attempt)
        .where(Attempt.id.in_(attempts), Attempt.state != AttemptState.ENDED)
        .values(values)
        .execution_options(synchronize_session="fetch")
    )
