"""What pipelines ask for by themselves, and which of their gaps that are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.look import is_due
from ccat_models.gap.reasons import Reason
from ccat_models.gap.rounds import in_round, round_begun, round_is_due
from ccat_models.gap.table import is_actionable, sub_group_gap
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.regenerate import Runs, can_go_on, regenerate, runs_lacked
from ccat_models.run.request import create_runs
from ccat_models.sub_group.follow import packages_changed
from ccat_models.tables.base import RunId, StepId, SubGroupId
from ccat_models.tables.pipelines import Pipeline, PipelineMode, PipelineRevision, ReductionStep, TriggerType

REQUESTED_BY = "standing"


def anything_due(session: Session, location_id: int, now: datetime) -> bool:
    """Say whether anything has changed, or come due, that pipelines of a processing location have to do with.

    One query, whose cost depends on what has changed alone.
    """
    here = sa.select(Pipeline.id).where(Pipeline.processing_location_id == location_id, _is_due(now))
    return bool(session.scalar(sa.select(sa.or_(packages_changed(), here.exists()))))


def pipelines_to_visit(session: Session, location_id: int, now: datetime) -> Sequence[str]:
    """Return the pipelines of a location that have gaps or that something has changed for, most important first."""
    steps = sa.select(ReductionStep.id).where(ReductionStep.pipeline_id == Pipeline.id).correlate(Pipeline)
    gaps = sa.select(sa.literal(1)).where(sub_group_gap.c.step_id.in_(steps), is_actionable(sub_group_gap))
    current = sa.and_(PipelineRevision.pipeline_id == Pipeline.id, PipelineRevision.number == Pipeline.revision)
    query = (
        sa.select(Pipeline.name)
        .join(PipelineRevision, current)
        .where(Pipeline.processing_location_id == location_id, sa.or_(_is_due(now), gaps.exists()))
        .order_by(PipelineRevision.priority.desc(), Pipeline.name)
    )
    return session.scalars(query).all()


def request_gaps(
    session: Session,
    pipeline: PipelineView,
    *,
    backend: str,
    now: datetime,
    limit: int,
    at_location: int | None = None,
) -> Mapping[str, Mapping[RunId, SubGroupId]]:
    """Create the runs that a pipeline asks for by itself, no more than `limit`; return them by step.

    Later steps come first: they end what was begun, and free the room it takes, before more is begun.
    `sub_group_gap` must have been looked at in this transaction, a request's.
    """
    begun = round_begun(session, pipeline)
    if not pipeline.enabled or (pipeline.trigger_type is not TriggerType.CONTINUOUS and begun is None):
        return {}
    asking: Mapping[str, Any] = {
        "backend": backend,
        "requested_by": REQUESTED_BY,
        "now": now,
        "at_location": at_location,
    }
    created: dict[str, dict[RunId, SubGroupId]] = defaultdict(dict)
    for step in _last_first(pipeline.steps):
        left = limit - sum(map(len, created.values()))
        if left <= 0:
            break
        conditions = _conditions(pipeline, step, begun)
        made = create_runs(session, pipeline, step, limit=left, known=sub_group_gap, conditions=conditions, **asking)
        created[step.name].update(made)
        for name, runs in _make_again(session, pipeline, step, asking).items():
            created[name].update(runs)
    return {name: runs for name, runs in created.items() if runs}


def _last_first(steps: Sequence[StepView]) -> list[StepView]:
    depths: dict[StepId, int] = {}
    for step in steps:  # upstreams come first
        depths[step.step_id] = 1 + max((depths[upstream] for upstream in step.upstream_ids), default=0)
    return sorted(steps, key=lambda step: -depths[step.step_id])


def makes_again(session: Session, pipeline: PipelineView) -> bool:
    """Say whether runs can be created that make again what gaps of a pipeline wait for, as soon as there are places."""
    lacked = [_lacked(session, pipeline, step) for step in pipeline.steps]
    return any(can_go_on(session, pipeline, runs) for runs in lacked if runs is not None)


def _lacked(session: Session, pipeline: PipelineView, step: StepView) -> Runs | None:
    gap = sub_group_gap.c
    its_own = sa.select(gap.sub_group_id).where(gap.step_id == step.step_id)
    return runs_lacked(session, pipeline, step, its_own, sub_group_gap)


def _make_again(
    session: Session, pipeline: PipelineView, step: StepView, asking: Mapping[str, Any]
) -> Mapping[str, Mapping[RunId, SubGroupId]]:
    """Create the runs that make again, as far as that can begin, what gaps of a step wait for; return them by step."""
    lacked = _lacked(session, pipeline, step)
    return {} if lacked is None else regenerate(session, pipeline, lacked, **asking)


def _conditions(pipeline: PipelineView, step: StepView, begun: datetime | None) -> list[sa.ColumnElement[bool]]:
    """Return which gaps are asked for: in a round, those that belong to it.

    A continuous ad-hoc pipeline answers its question as data come; that its software improves is no such question.
    """
    if begun is not None:
        return [] if pipeline.trigger_type is TriggerType.CONTINUOUS else [in_round(step, begun)]
    if pipeline.mode is PipelineMode.AD_HOC:
        return [sub_group_gap.c.reason != Reason.SOFTWARE_CHANGED.value]
    return []


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(is_due(Pipeline.id, now), sa.and_(Pipeline.enabled, round_is_due(Pipeline.id, now)))
