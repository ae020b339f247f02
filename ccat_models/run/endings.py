"""The runs in the order in which they ended, for publishing them one after another."""

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
    """The end of a run: the id of its change of status, and its time."""

    change_id: int
    run_id: RunId
    at: datetime


def endings_after(session: Session, change_id: int, *, published: Collection[int], limit: int) -> Sequence[Ending]:
    """Return the next `limit` runs that ended after a change and are not among `published` (ids of changes).

    A failure that was followed by a retry is no ending.
    """
    change, later = RunStatusHistory, aliased(RunStatusHistory)
    continued = sa.select(later.id).where(later.run_id == change.run_id, later.id > change.id).exists()
    query = (
        sa.select(change.id, change.run_id, change.at)
        .where(change.id > change_id, change.to_status.in_(_ENDED), change.id.not_in(published), sa.not_(continued))
        .order_by(change.id)
        .limit(limit)
    )
    return [Ending(*row) for row in session.execute(query).tuples()]
