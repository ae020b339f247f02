from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.run.transitions import move
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RunStatus, RunWaiter
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lengths import check_fits

FORGOTTEN_AFTER = timedelta(seconds=60)  # a waiter that was not heard of for so long is not waiting any more


def request_cancel(session: Session, run_ids: Collection[RunId], *, by: str, now: datetime) -> Sequence[RunId]:
    """Ask for runs in flight to be cancelled and return them; those not yet taken up are cancelled at once.

    The others are cancelled once their jobs are gone: a job that ends well before that has made its products.
    """
    check_fits("by", by, Run.cancel_requested_by)
    asked = session.scalars(
        sa.update(Run)
        .where(Run.id.in_(run_ids), Run.status.in_(IN_FLIGHT), Run.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now, cancel_requested_by=by)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    pending = session.scalars(sa.select(Run.id).where(Run.id.in_(asked), Run.status == RunStatus.PENDING)).all()
    cancelled = move(session, pending, RunStatus.CANCELLED, now)
    session.execute(
        sa.update(Attempt)
        .where(Attempt.run_id.in_(cancelled), Attempt.state != AttemptState.ENDED)
        .values(state=AttemptState.ENDED, finished_at=now)
    )
    return asked


def wait_for(session: Session, run_ids: Collection[RunId], waiter: str, now: datetime) -> None:
    """Note, or note again, that somebody waits for these runs."""
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
    """Forget a waiter, whose runs go on."""
    session.execute(sa.delete(RunWaiter).where(RunWaiter.waiter == waiter))


def abandon(session: Session, waiter: str, *, by: str, now: datetime) -> Sequence[RunId]:
    """Cancel what this waiter waited for and nobody else does, and forget the waiter."""
    mine = sa.select(RunWaiter.run_id).where(RunWaiter.waiter == waiter)
    others = sa.select(RunWaiter.run_id).where(RunWaiter.waiter != waiter, RunWaiter.seen_at > now - FORGOTTEN_AFTER)
    alone = session.scalars(sa.select(Run.id).where(Run.id.in_(mine), Run.id.not_in(others))).all()
    asked = request_cancel(session, alone, by=by, now=now)
    stop_waiting(session, waiter)
    return asked
