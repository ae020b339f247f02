"""The changes of an attempt's state; each function's changes belong into one transaction.

A change of an attempt that reproduces a run never changes its run.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.contract.result import Result
from ccat_models.run.regenerate import HOPELESS, lose
from ccat_models.run.request import add_attempt
from ccat_models.run.retry import delay, escalate, may_retry
from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, AttemptState, FailureClass, Purpose, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run


@dataclass(frozen=True)
class Intent:
    """What is committed before an attempt is sent: its directory, its command, and its place in a batch."""

    attempt_id: AttemptId
    directory: str
    runtime: str
    command: Sequence[str]
    batch_key: str
    batch_index: int


def sending(session: Session, intents: Collection[Intent], now: datetime) -> set[AttemptId]:
    """Record that attempts are about to be sent; return those that may be sent now.

    Attempts that have ended, were accepted already, or are to be cancelled, are left out.
    """
    sendable = _sendable(session, [intent.attempt_id for intent in intents], now)
    if not sendable:
        return sendable
    session.connection().execute(
        sa.update(Attempt)
        .where(Attempt.id == sa.bindparam("the_id"))
        .values(
            state=AttemptState.SENDING,
            sent_at=now,
            sends=Attempt.sends + 1,
            directory=sa.bindparam("the_directory"),
            runtime=sa.bindparam("the_runtime"),
            command=sa.bindparam("the_command", type_=Attempt.command.type),
            batch_key=sa.bindparam("the_batch"),
            batch_index=sa.bindparam("the_index"),
        ),
        [
            {
                "the_id": intent.attempt_id,
                "the_directory": intent.directory,
                "the_runtime": intent.runtime,
                "the_command": list(intent.command),
                "the_batch": intent.batch_key,
                "the_index": intent.batch_index,
            }
            for intent in intents
            if intent.attempt_id in sendable
        ],
    )
    return sendable


def sent(session: Session, jobs: Mapping[tuple[AttemptId, RunId], str | None], now: datetime) -> None:
    """Record that the back end has accepted these attempts; (attempt, run) → job id, None if that is unknown."""
    _set(session, [attempt for attempt, _ in jobs], evidence=None)
    move(session, _jobs(session, AttemptState.SENT, jobs), RunStatus.SUBMITTED, now)


def postponed(session: Session, attempts: Collection[AttemptId], reason: str) -> None:
    """Record that the back end has certainly not accepted these attempts: this sending does not count.

    Attempts for which no earlier sending is in doubt lose their batch, so that they may be sent in another one.
    """
    _set(session, attempts, sends=Attempt.sends - 1, evidence={"waits": reason})
    session.execute(
        sa.update(Attempt)
        .where(Attempt.id.in_(attempts), Attempt.state == AttemptState.SENDING, Attempt.sends == 0)
        .values(batch_key=None, batch_index=None)
        .execution_options(synchronize_session="fetch")
    )


def doubted(session: Session, attempts: Collection[AttemptId], reason: str, now: datetime) -> None:
    """Record that it is in doubt whether the back end accepted these attempts; the wait before resending begins now."""
    _set(session, attempts, sent_at=now, evidence={"waits": reason})


def running(session: Session, jobs: Mapping[tuple[AttemptId, RunId], str | None], now: datetime) -> None:
    """Record that these jobs are running; (attempt, run) → job id, None if that is unknown."""
    move(session, _jobs(session, AttemptState.RUNNING, jobs), RunStatus.RUNNING, now)


def still_open(session: Session, submission_keys: Collection[str]) -> set[str]:
    """Return those of these keys whose attempts have not ended."""
    query = sa.select(Attempt.submission_key).where(Attempt.submission_key.in_(submission_keys))
    return set(session.scalars(query.where(Attempt.state != AttemptState.ENDED)))


def missing(session: Session, attempts: Collection[AttemptId], now: datetime) -> None:
    """Record that the jobs of these attempts are missing since now: not in the queue, and without a result."""
    if attempts:
        _set(session, attempts, missing_since=now)


def waiting(session: Session, reasons: Mapping[AttemptId, str]) -> None:
    """Record the back end's reasons why these attempts' jobs wait."""
    by_reason: dict[str, list[AttemptId]] = defaultdict(list)
    for attempt, reason in reasons.items():
        by_reason[reason].append(attempt)
    for reason, attempts in by_reason.items():
        _set(session, attempts, evidence={"waits": reason})


def seen_again(session: Session, attempts: Collection[AttemptId]) -> None:
    """Record that the jobs of these attempts are in the queue: they are no longer missing."""
    if attempts:
        _set(session, attempts, missing_since=None)


def cancelled(session: Session, attempt: AttemptId, run: RunId, now: datetime, result: Result | None = None) -> None:
    """End an attempt that was to be cancelled and whose job is gone; `result` is what the job left, if any."""
    before = session.get_one(Attempt, attempt, with_for_update=True)
    if before.state is AttemptState.ENDED:
        return
    measures = _measures(result) if result else {"finished_at": now}
    _set(session, [attempt], state=AttemptState.ENDED, **measures)
    if before.purpose is Purpose.EXECUTE:
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
    """End an attempt as failed and return the run's status; a retry is added if the failure class's budget allows it.

    A run that is to be cancelled is not retried.
    """
    attempt = session.get_one(Attempt, attempt_id, with_for_update=True)  # so that only one of two callers adds a retry
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
    if attempt.purpose is Purpose.REPRODUCE:
        return run.status
    if not move(session, [run.id], RunStatus.FAILED, now, failure=(failure, message)):
        return run.status
    past = session.scalars(sa.select(Attempt.failure_class).where(Attempt.run_id == run.id)).all()
    if run.cancel_requested_at is None and may_retry(failure, past, run.step_revision.retries):
        _add_retry(session, run, attempt, failure, list(past), now)
        return RunStatus.PENDING
    if run.regenerates_run_id is not None and failure in HOPELESS:
        lose(session, run.regenerates_run_id, now)
    return RunStatus.FAILED


def ended_well(session: Session, attempt: AttemptId, result: Result) -> None:
    """End an attempt that completed and record its measurements."""
    _set(session, [attempt], state=AttemptState.ENDED, **_measures(result))


def _add_retry(
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
    known = {} if result.job_id is None else {"job_id": result.job_id}
    return known | {
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "exit_code": result.exit_code,
        "wall_seconds": result.wall_seconds,
        "cpu_seconds": result.cpu_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "host": result.host,
        "runtime": result.runtime,
        "image_sha256": result.image_sha256,
    }


def _sendable(session: Session, attempts: Collection[AttemptId], now: datetime) -> set[AttemptId]:
    """Return the attempts that may be sent, locked until the transaction ends."""
    query = (
        sa.select(Attempt.id)
        .join(Run, Run.id == Attempt.run_id)
        .where(
            Attempt.id.in_(attempts),
            Attempt.state.in_((AttemptState.INTENDED, AttemptState.SENDING)),
            sa.or_(
                sa.and_(Run.status == RunStatus.STAGING_DATA, Run.cancel_requested_at.is_(None)),
                sa.and_(Attempt.purpose == Purpose.REPRODUCE, Attempt.wanted_until > now),
            ),
        )
        .with_for_update(of=Attempt)
    )
    return set(session.scalars(query))


def _jobs(session: Session, state: AttemptState, jobs: Mapping[tuple[AttemptId, RunId], str | None]) -> Sequence[RunId]:
    """Record the state and job id of attempts that have not ended; return the runs that they execute."""
    if not jobs:
        return []
    open_runs = session.scalars(
        sa.select(Attempt.run_id).where(
            Attempt.id.in_([attempt for attempt, _ in jobs]),
            Attempt.state != AttemptState.ENDED,
            Attempt.purpose == Purpose.EXECUTE,
        )
    ).all()
    session.connection().execute(
        sa.update(Attempt)
        .where(Attempt.id == sa.bindparam("the_id"), Attempt.state != AttemptState.ENDED)
        .values(
            state=state,
            missing_since=None,
            job_id=sa.func.coalesce(sa.bindparam("the_job", type_=sa.String), Attempt.job_id),
        ),
        [{"the_id": attempt, "the_job": job_id} for (attempt, _), job_id in jobs.items()],
    )
    return open_runs


def _set(session: Session, attempts: Collection[AttemptId], **values: Any) -> None:
    session.execute(
        sa.update(Attempt)
        .where(Attempt.id.in_(attempts), Attempt.state != AttemptState.ENDED)
        .values(values)
        .execution_options(synchronize_session="fetch")
    )
