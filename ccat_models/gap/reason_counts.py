"""How many sub-groups of a step have each reason, over time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.table import changed, gap_now, sub_group_gap
from ccat_models.pipeline.view import StepView
from ccat_models.tables.gaps import ReasonCount

_RESOLUTION = timedelta(minutes=1)
CHANGES_FOR = timedelta(minutes=2)  # a row may change within the minute in which it was counted


def record_counts(session: Session, step: StepView, now: datetime) -> None:
    """Record how the counts change with the rows in `changed`, before these are stored.

    Only counts that change are recorded; within a minute, the newest row of a reason is updated instead.
    """
    gone, come = _counted(session, step, sub_group_gap), _counted(session, step, gap_now)
    deltas = {reason: come.get(reason, 0) - gone.get(reason, 0) for reason in {*gone, *come}}
    last = _last(session, step)
    for reason, delta in sorted(deltas.items()):
        if not delta:
            continue
        row = last.get(reason)
        if row is not None and now - row.at < _RESOLUTION:
            row.count += delta
        else:
            count = delta + (row.count if row is not None else 0)
            session.add(ReasonCount(step_id=step.step_id, reason=reason, count=count, at=now))
    session.flush()


def counts_over_time(session: Session, step: StepView, limit: int) -> Sequence[ReasonCount]:
    """Return the newest `limit` counts of a step, the newest first; a count holds until its reason's next one."""
    query = sa.select(ReasonCount).where(ReasonCount.step_id == step.step_id).order_by(ReasonCount.id.desc())
    return session.scalars(query.limit(limit)).all()


def _counted(session: Session, step: StepView, rows: sa.Table) -> Mapping[str, int]:
    same = sa.and_(rows.c.step_id == step.step_id, rows.c.sub_group_id == changed.c.sub_group_id)
    query = sa.select(rows.c.reason, sa.func.count()).select_from(changed.join(rows, same))
    return dict(session.execute(query.group_by(rows.c.reason)).tuples().all())


def _last(session: Session, step: StepView) -> Mapping[str, ReasonCount]:
    newest = sa.select(sa.func.max(ReasonCount.id)).where(ReasonCount.step_id == step.step_id)
    query = sa.select(ReasonCount).where(ReasonCount.id.in_(newest.group_by(ReasonCount.reason)))
    return {row.reason: row for row in session.scalars(query)}
