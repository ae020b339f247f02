"""Reading the gaps from `gap_now`, once it is filled, or from `sub_group_gap`."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.fingerprint import Fingerprint, Lanes
from ccat_models.gap.reasons import ACTIONABLE, Reason
from ccat_models.gap.table import gap_now
from ccat_models.pipeline.view import StepView
from ccat_models.tables.base import RunId, StepId, SubGroupId
from ccat_models.tables.pipelines import SubGroup


@dataclass(frozen=True)
class Gap:
    """A sub-group of a step: its one reason, its input set, and the runs that decide the reason."""

    sub_group_id: SubGroupId
    key: str
    reason: Reason
    alive: bool
    will_run: bool
    fingerprint: Fingerprint
    acceptable_run_id: RunId | None
    current_run_id: RunId | None
    latest_run_id: RunId | None
    due_at: datetime | None  # when the reason changes without any other event

    @property
    def actionable(self) -> bool:
        """Say whether a run is to be created now."""
        return self.alive and self.reason in ACTIONABLE


@dataclass(frozen=True)
class StepCounts:
    """How many sub-groups of a step have each reason; how many are to be run `now`, and how many `afterwards`."""

    reasons: dict[Reason, int]
    now: int
    afterwards: int


def counts(session: Session, known: sa.Table = gap_now) -> dict[StepId, StepCounts]:
    """Return the counts of every step in the table, in one query."""
    kinds = (known.c.step_id, known.c.reason, known.c.will_run, known.c.alive)
    query = sa.select(*kinds, sa.func.count()).group_by(*kinds)
    reasons: dict[StepId, Counter[Reason]] = defaultdict(Counter)
    now: Counter[StepId] = Counter()
    afterwards: Counter[StepId] = Counter()
    for step_id, text, will_run, alive, count in session.execute(query):
        reason = Reason(text)
        reasons[step_id][reason] += count
        wanted = alive and reason in ACTIONABLE
        now[step_id] += count if wanted else 0
        afterwards[step_id] += count if will_run and not wanted else 0
    return {step: StepCounts(dict(found), now[step], afterwards[step]) for step, found in reasons.items()}


def gaps(
    session: Session,
    step: StepView,
    *,
    keys: Collection[str] | None = None,
    reasons: Collection[Reason] | None = None,
    limit: int | None = None,
    known: sa.Table = gap_now,
) -> Iterator[Gap]:
    """Yield the step's sub-groups, ordered by key; `keys` and `reasons` select some of them."""
    query = (
        sa.select(SubGroup.key, known)
        .join(SubGroup, SubGroup.id == known.c.sub_group_id)
        .where(known.c.step_id == step.step_id)
        .order_by(SubGroup.key)
    )
    if keys is not None:
        query = query.where(SubGroup.key.in_(keys))
    if reasons is not None:
        query = query.where(known.c.reason.in_([reason.value for reason in reasons]))
    if limit is not None:
        query = query.limit(limit)
    for row in session.execute(query):
        yield _gap(row)


def _gap(row: sa.Row[tuple[object, ...]]) -> Gap:
    return Gap(
        sub_group_id=SubGroupId(row.sub_group_id),
        key=row.key,
        reason=Reason(row.reason),
        alive=bool(row.alive),
        will_run=bool(row.will_run),
        fingerprint=Fingerprint(row.input_count, Lanes((row.lane_0, row.lane_1, row.lane_2))),
        acceptable_run_id=row.acceptable_run_id,
        current_run_id=row.current_run_id,
        latest_run_id=row.latest_run_id,
        due_at=row.due_at,
    )
