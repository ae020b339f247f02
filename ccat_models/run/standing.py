"""The runs that pipelines create by themselves, without a request."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.look import is_due
from ccat_models.gap.reasons import Reason
from ccat_models.gap.rounds import in_round, round_begun, round_is_due
from ccat_models.gap.table import is_actionable, sub_group_gap
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.regenerate import Runs, can_regenerate_more, regenerate, runs_awaited
from ccat_models.run.request import create_runs
from ccat_models.sub_group.follow import packages_changed
from ccat_models.tables.base import RunId, StepId, SubGroupId
from ccat_models.tables.pipelines import Pipeline, PipelineMode, PipelineRevision, ReductionStep, TriggerType

REQUESTED_BY = "standing"


def anything_due(session: Session, location_id: int, now: datetime, paused: Collection[str] = ()) -> bool:
    """Say whether a pipeline of a processing location has changes to follow or a round to begin.

    One query, whose cost depends only on the number of changes. The triggers of the `paused` pipelines do not count.
    """
    here = sa.select(Pipeline.id).where(Pipeline.processing_location_id == location_id, _is_due(now, paused))
    return bool(session.scalar(sa.select(sa.or_(packages_changed(), here.exists()))))


def pipelines_to_visit(
    session: Session, location_id: int, now: datetime, paused: Collection[str] = ()
) -> Sequence[str]:
    """Return the location's pipelines with gaps or with changes to follow, by descending priority.

    The triggers of the `paused` pipelines do not count.
    """
    steps = sa.select(ReductionStep.id).where(ReductionStep.pipeline_id == Pipeline.id).correlate(Pipeline)
    gaps = sa.select(sa.literal(1)).where(sub_group_gap.c.step_id.in_(steps), is_actionable(sub_group_gap))
    current = sa.and_(PipelineRevision.pipeline_id == Pipeline.id, PipelineRevision.number == Pipeline.revision)
    query = (
        sa.select(Pipeline.name)
        .join(PipelineRevision, current)
        .where(Pipeline.processing_location_id == location_id, sa.or_(_is_due(now, paused), gaps.exists()))
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
    """Create the runs that a pipeline creates by itself, at most `limit`; return step → run → sub-group.

    Later steps come first: they complete what was begun, and free its space, before more is begun. It must be called in
    a request's transaction in which `look` has updated `sub_group_gap`.
    """
    begun = round_begun(session, pipeline)
    if not pipeline.enabled or (pipeline.trigger_type is not TriggerType.CONTINUOUS and begun is None):
        return {}
    options: Mapping[str, Any] = {
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
        made = create_runs(session, pipeline, step, limit=left, known=sub_group_gap, conditions=conditions, **options)
        created[step.name].update(made)
        for name, runs in _regenerate(session, pipeline, step, options).items():
            created[name].update(runs)
    return {name: runs for name, runs in created.items() if runs}


def _last_first(steps: Sequence[StepView]) -> list[StepView]:
    depths: dict[StepId, int] = {}
    for step in steps:  # upstreams come first
        depths[step.step_id] = 1 + max((depths[upstream] for upstream in step.upstream_ids), default=0)
    return sorted(steps, key=lambda step: -depths[step.step_id])


def can_regenerate_any(session: Session, pipeline: PipelineView) -> bool:
    """Say whether inputs that a pipeline's gaps wait for can be regenerated, as soon as the limits allow it."""
    awaited = [_awaited(session, pipeline, step) for step in pipeline.steps]
    return any(can_regenerate_more(session, pipeline, runs) for runs in awaited if runs is not None)


def _awaited(session: Session, pipeline: PipelineView, step: StepView) -> Runs | None:
    gap = sub_group_gap.c
    its_own = sa.select(gap.sub_group_id).where(gap.step_id == step.step_id)
    return runs_awaited(session, pipeline, step, its_own, sub_group_gap)


def _regenerate(
    session: Session, pipeline: PipelineView, step: StepView, options: Mapping[str, Any]
) -> Mapping[str, Mapping[RunId, SubGroupId]]:
    """Create the runs that regenerate what a step's gaps wait for, those that can begin now; return them by step."""
    awaited = _awaited(session, pipeline, step)
    return {} if awaited is None else regenerate(session, pipeline, awaited, **options)


def _conditions(pipeline: PipelineView, step: StepView, begun: datetime | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions on the gaps to fill: in a round, that they belong to it.

    A continuous ad-hoc pipeline creates no runs because of new software: it was declared for one question.
    """
    if begun is not None:
        return [] if pipeline.trigger_type is TriggerType.CONTINUOUS else [in_round(step, begun)]
    if pipeline.mode is PipelineMode.AD_HOC:
        return [sub_group_gap.c.reason != Reason.SOFTWARE_CHANGED.value]
    return []


def _is_due(now: datetime, paused: Collection[str]) -> sa.ColumnElement[bool]:
    a_round = round_is_due(Pipeline.id, now, Pipeline.name.not_in(paused))
    return sa.or_(is_due(Pipeline.id, now), sa.and_(Pipeline.enabled, a_round))
