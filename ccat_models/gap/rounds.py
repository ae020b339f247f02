"""Pipeline rounds: when a pipeline that is not continuous creates runs.

A cron trigger or a request begins a round. In a round, root steps use the inputs that had arrived when it began, later
steps whatever follows from that. The round ends when nothing is left to run. Triggers that fire while no daemon runs,
or during a round, begin one round together.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.reasons import ACTIONABLE, WANTED, Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.pipeline.cron import next_time
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import PipelineRound
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.pipelines import TriggerType

_LATER = (Reason.COOLING_DOWN, Reason.SETTLING)


@dataclass(frozen=True)
class RoundNow:
    """The present or last round of a pipeline, and when its cron trigger begins the next one."""

    begun_at: datetime | None = None  # None: there was no round yet
    ended_at: datetime | None = None  # None: it is in progress
    next_at: datetime | None = None  # None: not at a certain time; in the past: as soon as the pipeline is visited


def begin_round(session: Session, pipeline_id: int, *, by: str, now: datetime) -> None:
    """Begin a round of a pipeline; a round in progress then includes what has arrived until now."""
    row = _row(session, pipeline_id)
    row.begun_at, row.begun_by, row.ended_at, row.is_new = now, by, None, True
    session.flush()


def fire_trigger(session: Session, pipeline: PipelineView, now: datetime, *, is_paused: bool = False) -> None:
    """Begin a pipeline's round if it is due, and record when its trigger fires next.

    A new trigger counts from the time at which it was declared. A firing that was due before the trigger was changed
    still begins a round. While the trigger is paused, its round stays due.
    """
    trigger = _trigger(pipeline)
    row = session.get(PipelineRound, pipeline.pipeline_id)
    if row is None and trigger is None:
        return
    row = row or _row(session, pipeline.pipeline_id)
    row.is_new = False
    if trigger is None:
        row.trigger = row.next_at = None
        session.flush()
        return
    words, due = " ".join(trigger), row.trigger if _is_overdue(row, now) else None
    if row.trigger != words:
        row.trigger, row.next_at = words, next_time(*trigger, pipeline.applied_at)
        due = due or (words if _is_overdue(row, now) else None)
    if pipeline.enabled and not is_paused and due is not None:
        row.begun_at, row.begun_by, row.ended_at = now, f"cron {due}", None
        row.next_at = next_time(*trigger, now)
    session.flush()


def _is_overdue(row: PipelineRound, now: datetime) -> bool:
    return row.next_at is not None and row.next_at <= now


def round_begun(session: Session, pipeline: PipelineView) -> datetime | None:
    """Return when a pipeline's present round began, None if it is in no round."""
    row = session.get(PipelineRound, pipeline.pipeline_id)
    return None if row is None or row.ended_at is not None else row.begun_at


def round_now(session: Session, pipeline: PipelineView) -> RoundNow:
    """Return what is known of a pipeline's rounds; without a visit since the trigger was declared, too."""
    row, trigger = session.get(PipelineRound, pipeline.pipeline_id), _trigger(pipeline)
    if trigger is None:
        next_at = None
    elif row is not None and row.trigger == " ".join(trigger):
        next_at = row.next_at
    else:
        next_at = next_time(*trigger, pipeline.applied_at)
    return RoundNow(next_at=next_at) if row is None else RoundNow(row.begun_at, row.ended_at, next_at)


def in_round(step: StepView, begun_at: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a `sub_group_gap` row belongs to a round: root inputs arrived before it began."""
    if step.upstream_ids:
        return sa.true()
    return sa.func.coalesce(sub_group_gap.c.inputs_since <= begun_at, sa.true())


def end_round(
    session: Session, pipeline: PipelineView, begun_at: datetime, now: datetime, *, regenerates: bool
) -> bool:
    """End a pipeline's round if no run is in flight and none is left to create, now or later; say whether it has ended.

    Gaps that wait for purged inputs count only if `regenerates`: if runs that regenerate them can be created.
    """
    steps = [step.step_id for step in pipeline.steps]
    in_flight = sa.select(sa.literal(1)).where(Run.step_id.in_(steps), Run.status.in_(IN_FLIGHT))
    gap = sub_group_gap.c
    wanted = WANTED if regenerates else ACTIONABLE
    waits = gap.reason.in_([reason.value for reason in (*wanted, *_LATER)])
    left = [
        sa.select(sa.literal(1)).where(gap.step_id == step.step_id, gap.alive == 1, waits, in_round(step, begun_at))
        for step in pipeline.steps
    ]
    if session.scalar(sa.select(sa.or_(in_flight.exists(), *(one.exists() for one in left)))):
        return False
    _row(session, pipeline.pipeline_id).ended_at = now
    session.flush()
    return True


def round_is_due(
    pipeline_ids: sa.SQLColumnExpression[int], now: datetime, may_fire: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """Return the condition that a pipeline of an enclosing query has a newly begun round, or a trigger to fire.

    `may_fire` is a condition on the pipeline: where it does not hold, no trigger is due.
    """
    due = sa.or_(sa.and_(PipelineRound.next_at <= now, may_fire), PipelineRound.is_new)
    rows = sa.select(sa.literal(1)).where(PipelineRound.pipeline_id == pipeline_ids, due)
    return rows.correlate_except(PipelineRound).exists()


def _row(session: Session, pipeline_id: int) -> PipelineRound:
    session.execute(insert_or_ignore(session, PipelineRound).values(pipeline_id=pipeline_id))
    return session.get_one(PipelineRound, pipeline_id, populate_existing=True)


def _trigger(pipeline: PipelineView) -> tuple[str, str] | None:
    if pipeline.trigger_type is not TriggerType.CRON:
        return None
    return " ".join(pipeline.trigger_config["expression"].split()), pipeline.trigger_config["time_zone"]
