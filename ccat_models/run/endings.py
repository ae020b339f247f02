"""Runs in the order in which they ended, to be told of one after another."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ENDED, RunStatusHistory

_ENDED = tuple(status.value for status in ENDED)


@dataclass(frozen=True)
class Ending:
    """That a run ended: the change of its status, by its number, and when it was."""

    change_id: int
    run_id: RunId
    at: datetime


def endings_after(session: Session, change_id: int, *, told: Collection[int], limit: int) -> Sequence[Ending]:
    """Return the next runs that ended behind a change and are not told of yet, so many at most.

    A failure that was followed by another attempt is no end.
    """
    change, later = RunStatusHistory, aliased(RunStatusHistory)
    went_on = sa.select(later.id).where(later.run_id == change.run_id, later.id > change.id).exists()
    query = (
        sa.select(change.id, change.run_id, change.at)
        .where(change.id > change_id, change.to_status.in_(_ENDED), change.id.not_in(told), sa.not_(went_on))
        .order_by(change.id)
        .limit(limit)
    )
    return [Ending(*row) for row in session.execute(query).tuples()]
