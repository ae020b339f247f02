"""The legal changes of a run's status: one table, kept by code and by a trigger of the database.

Published edges: workflow manager documentation, "execution flow". Ours: a staging or submission error
(STAGING_DATA → FAILED), a job that was over before anybody saw it run (SUBMITTED → COLLECTING_RESULTS, FAILED),
cancellation while staging, and cancellation of a failed run's retry (it is PENDING again).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import FailureClass, RunStatus

LEGAL_TRANSITIONS: frozenset[tuple[RunStatus, RunStatus]] = frozenset(
    {
        (RunStatus.PENDING, RunStatus.STAGING_DATA),
        (RunStatus.PENDING, RunStatus.CANCELLED),
        (RunStatus.STAGING_DATA, RunStatus.SUBMITTED),
        (RunStatus.STAGING_DATA, RunStatus.FAILED),
        (RunStatus.STAGING_DATA, RunStatus.CANCELLED),
        (RunStatus.SUBMITTED, RunStatus.RUNNING),
        (RunStatus.SUBMITTED, RunStatus.COLLECTING_RESULTS),
        (RunStatus.SUBMITTED, RunStatus.FAILED),
        (RunStatus.SUBMITTED, RunStatus.CANCELLED),
        (RunStatus.RUNNING, RunStatus.COLLECTING_RESULTS),
        (RunStatus.RUNNING, RunStatus.FAILED),
        (RunStatus.RUNNING, RunStatus.CANCELLED),
        (RunStatus.COLLECTING_RESULTS, RunStatus.COMPLETED),
        (RunStatus.COLLECTING_RESULTS, RunStatus.FAILED),
        (RunStatus.FAILED, RunStatus.PENDING),
    }
)


def move(
    session: Session,
    run_ids: Collection[RunId],
    to: RunStatus,
    now: datetime,
    *,
    failure: tuple[FailureClass, str] | None = None,
) -> Sequence[RunId]:
    """Change the status of those runs that may legally get it now, in one statement; return them.

    A run whose status was changed in the meantime is left as it is. The database's triggers append the history.
    """
    sources = [before for before, after in LEGAL_TRANSITIONS if after is to]
    values = {"status": to, "status_changed_at": now, "failure_class": None, "failure_message": None}
    if failure is not None:
        values |= {"failure_class": failure[0], "failure_message": failure[1]}
    statement = (
        sa.update(Run)
        .where(Run.id.in_(run_ids), Run.status.in_(sources))
        .values(values)
        .returning(Run.id)
        .execution_options(synchronize_session="fetch")
    )
    return session.scalars(statement).all()
