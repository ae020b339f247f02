"""Reading how many sub-groups of each step have each reason, and what changed since a row that was read before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.reasons import Reason
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.gaps import ReasonCount, SubGroupGap
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup

_CLOSED = (Reason.UP_TO_DATE, Reason.IN_FLIGHT)

Counts = Mapping[StepId, Mapping[str, int]]


@dataclass(frozen=True)
class OpenSubGroups:
    """A step and the first of its sub-groups that are not up to date and have no run in flight.

    Each row is key, reason and latest run.
    """

    pipeline: str
    step: str
    rows: Sequence[tuple[str, str, RunId | None]]


def newest_counts(session: Session) -> Counts:
    """Return the newest count of every step and reason; zeros are included."""
    newest = sa.select(sa.func.max(ReasonCount.id)).group_by(ReasonCount.step_id, ReasonCount.reason)
    query = sa.select(ReasonCount.step_id, ReasonCount.reason, ReasonCount.count).where(ReasonCount.id.in_(newest))
    counts: dict[StepId, dict[str, int]] = {}
    for step_id, reason, count in session.execute(query).tuples():
        counts.setdefault(step_id, {})[reason] = count
    return counts


def counted_since(session: Session, row_id: int) -> Sequence[ReasonCount]:
    """Return the row with this id, if it exists, and all later ones."""
    return session.scalars(sa.select(ReasonCount).where(ReasonCount.id >= row_id).order_by(ReasonCount.id)).all()


def newest_row(session: Session, before: datetime) -> int:
    """Return the id of the last row that was counted before a time, 0 if there is none."""
    query = sa.select(ReasonCount.id).where(ReasonCount.at < before).order_by(ReasonCount.id.desc()).limit(1)
    return session.scalar(query) or 0


def open_sub_groups(session: Session, step_id: StepId, limit: int) -> OpenSubGroups | None:
    """Return the first `limit` open sub-groups of a step, None for an unknown step."""
    names = sa.select(Pipeline.name, ReductionStep.name).join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
    found = session.execute(names.where(ReductionStep.id == step_id)).tuples().one_or_none()
    if found is None:
        return None
    others = [reason.value for reason in Reason if reason not in _CLOSED]
    query = (
        sa.select(SubGroup.key, SubGroupGap.reason, SubGroupGap.latest_run_id)
        .join(SubGroup, SubGroup.id == SubGroupGap.sub_group_id)
        .where(SubGroupGap.step_id == step_id, SubGroupGap.reason.in_(others))
        .order_by(SubGroupGap.reason, SubGroupGap.sub_group_id)
        .limit(limit)
    )
    return OpenSubGroups(*found, session.execute(query).tuples().all())
