"""What the one who holds a cluster's lease has to do: attempts to be taken up, sent, observed, cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.run.transitions import move
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that has not ended, with what is needed to move it on."""

    id: AttemptId
    run_id: RunId
    number: int
    submission_key: str
    state: AttemptState
    run_status: RunStatus
    directory: str | None
    sent_at: datetime | None
    missing_since: datetime | None
    cancel_requested: bool
    resources: dict[str, Any]


def take_up(session: Session, backend: str, limit: int, now: datetime) -> int:
    """Move up to `limit` runs from PENDING to STAGING_DATA, the most important and oldest first."""
    ready = (
        sa.select(Run.id)
        .join(Attempt, sa.and_(Attempt.run_id == Run.id, Attempt.state == AttemptState.INTENDED))
        .where(
            Run.status == RunStatus.PENDING,
            Attempt.backend == backend,
            sa.or_(Run.not_before.is_(None), Run.not_before <= now),
        )
        .order_by(Run.priority.desc(), Run.id)
        .limit(limit)
    )
    return len(move(session, session.scalars(ready).all(), RunStatus.STAGING_DATA, now))


def open_attempts(session: Session, backend: str) -> Sequence[OpenAttempt]:
    """Return the attempts of this back end that were taken up and have not ended, oldest first."""
    rows = session.execute(
        sa.select(
            Attempt.id,
            Attempt.run_id,
            Attempt.number,
            Attempt.submission_key,
            Attempt.state,
            Run.status,
            Attempt.directory,
            Attempt.sent_at,
            Attempt.missing_since,
            Run.cancel_requested_at.is_not(None),
            Attempt.resources,
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(
            Attempt.backend == backend,
            Attempt.state != AttemptState.ENDED,
            Run.status.in_((RunStatus.STAGING_DATA, RunStatus.SUBMITTED, RunStatus.RUNNING)),
        )
        .order_by(Attempt.id)
    )
    return [OpenAttempt(*row) for row in rows.tuples()]


def anything_to_do(session: Session, backend: str) -> bool:
    """Say whether any run of this back end is in flight: one indexed query."""
    flying = sa.select(Run.id).join(Attempt, Attempt.run_id == Run.id)
    return bool(session.scalar(sa.select(flying.where(Run.status.in_(IN_FLIGHT), Attempt.backend == backend).exists())))
