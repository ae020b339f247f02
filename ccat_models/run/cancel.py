from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.run.transitions import move
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RunStatus, RunWaiter
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lengths import check_fits

FORGOTTEN_AFTER = timedelta(seconds=60)  # a waiter that did not report for so long no longer counts


def request_cancel(session: Session, run_ids: Collection[RunId], *, by: str, now: datetime) -> Sequence[RunId]:
    """Request the cancellation of runs in flight, and return those for which it is new.

    Pending runs are cancelled at once. The others are cancelled when their jobs are gone; a job that completes before
    that keeps its products.
    """
    check_fits("by", by, Run.cancel_requested_by)
    requested = session.scalars(
        sa.update(Run)
        .where(Run.id.in_(run_ids), Run.status.in_(IN_FLIGHT), Run.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now, cancel_requested_by=by)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    pending = session.scalars(sa.select(Run.id).where(Run.id.in_(requested), Run.status == RunStatus.PENDING)).all()
    cancelled = move(session, pending, RunStatus.CANCELLED, now)
    session.execute(
        sa.update(Attempt)
        .where(Attempt.run_id.in_(cancelled), Attempt.state != AttemptState.ENDED)
        .values(state=AttemptState.ENDED, finished_at=now)
    )
    return requested


def wait_for(session: Session, run_ids: Collection[RunId], waiter: str, now: datetime) -> None:
    """Record that a waiter waits for these runs; repeated calls keep it from being forgotten."""
    known = set(session.scalars(sa.select(RunWaiter.run_id).where(RunWaiter.waiter == waiter)))
    session.execute(sa.update(RunWaiter).where(RunWaiter.waiter == waiter).values(seen_at=now))
    new = [{"run_id": run_id, "waiter": waiter, "seen_at": now} for run_id in run_ids if run_id not in known]
    if new:
        session.execute(sa.insert(RunWaiter), new)


def waiters(session: Session, prefix: str) -> Sequence[str]:
    """Return who waits for runs, of those whose name begins with the prefix."""
    mine = RunWaiter.waiter.startswith(prefix, autoescape=True)
    return session.scalars(sa.select(RunWaiter.waiter).where(mine).distinct().order_by(RunWaiter.waiter)).all()


def stop_waiting(session: Session, waiter: str) -> None:
    """Remove a waiter; its runs continue."""
    session.execute(sa.delete(RunWaiter).where(RunWaiter.waiter == waiter))


def abandon(session: Session, waiter: str, *, by: str, now: datetime) -> Sequence[RunId]:
    """Remove a waiter, and request the cancellation of the runs that no other waiter waits for; return these."""
    mine = sa.select(RunWaiter.run_id).where(RunWaiter.waiter == waiter)
    others = sa.select(RunWaiter.run_id).where(RunWaiter.waiter != waiter, RunWaiter.seen_at > now - FORGOTTEN_AFTER)
    alone = session.scalars(sa.select(Run.id).where(Run.id.in_(mine), Run.id.not_in(others))).all()
    requested = request_cancel(session, alone, by=by, now=now)
    stop_waiting(session, waiter)
    return requested
