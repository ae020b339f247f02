"""A pipeline's current revision as plain values, read in a constant number of queries."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, joinedload

from ccat_models.errors import NotFound
from ccat_models.pipeline.values import Escalation, QualityLimit, Resources, Retention, Retries
from ccat_models.tables.base import StepId
from ccat_models.tables.pipelines import (
    DataGrouping,
    FanIn,
    Pipeline,
    PipelineMode,
    PipelineRevision,
    ReductionStep,
    ReductionStepDependency,
    ReductionStepRevision,
    SubGroup,
    TriggerType,
    VersionPolicy,
)


@dataclass(frozen=True)
class StepView:
    """A step in its pipeline's current revision."""

    step_id: StepId
    revision_id: int
    name: str
    order: int
    description: str
    final: bool
    fan_in: FanIn
    cooldown_seconds: int
    settle_seconds: int
    partitioning_id: int
    group_by: tuple[str, ...]
    upstream_ids: tuple[StepId, ...]
    software_name: str
    software_id: int
    pinned_version: str
    pinned_version_id: int
    version_policy: VersionPolicy
    config_id: int
    config_hash: str
    parameters: Mapping[str, Any]
    resources: Resources
    retries: Retries
    escalation: Escalation | None
    circuit_threshold: int
    max_in_flight: int | None
    quality: tuple[QualityLimit, ...]
    retention: Retention


@dataclass(frozen=True)
class PipelineView:
    """A pipeline in its current revision; each step comes after those it depends on."""

    pipeline_id: int
    name: str
    revision: int
    revision_id: int
    applied_at: datetime
    enabled: bool
    mode: PipelineMode
    trigger_type: TriggerType
    trigger_config: Mapping[str, Any]
    priority: int
    max_in_flight: int | None
    partition_horizon_days: int | None
    description: str
    owners: tuple[str, ...]
    data_grouping_id: int
    data_grouping_name: str
    processing_location_id: int
    steps: tuple[StepView, ...]

    def step(self, name: str) -> StepView:
        """Return a step by name; raise NotFound with the known names."""
        for step in self.steps:
            if step.name == name:
                return step
        raise NotFound(f"step of pipeline {self.name}", name, [step.name for step in self.steps])

    def upstreams_of(self, step: StepView) -> list[StepView]:
        """Return the steps that a step depends on, directly or through others, in the pipeline's order."""
        needed = {step.step_id}
        for other in reversed(self.steps):
            if other.step_id in needed:
                needed.update(other.upstream_ids)
        return [other for other in self.steps if other.step_id in needed and other is not step]


def load_pipeline(session: Session, name: str) -> PipelineView:
    """Return a pipeline by name; raise NotFound with the known names."""
    found = _load(session, Pipeline.name == name)
    if not found:
        raise NotFound("pipeline", name, pipeline_names(session))
    return found[0]


def pipeline_names(session: Session) -> list[str]:
    """Return the names of all pipelines, in their order."""
    return list(session.scalars(sa.select(Pipeline.name).order_by(Pipeline.name)))


def list_pipelines(session: Session) -> tuple[PipelineView, ...]:
    """Return all pipelines, ordered by name."""
    return _load(session, sa.true())


def last_revisions() -> sa.Select[tuple[int]]:
    """Return the last revision of each step: what its pipeline's declaration says now, or said last."""
    revision = aliased(ReductionStepRevision)
    return sa.select(sa.func.max(revision.id)).group_by(revision.step_id)


def check_sub_group(session: Session, step: StepView, key: str | None) -> None:
    """Raise NotFound with the first of a step's sub-groups unless the key is of one of them."""
    keys = sa.select(SubGroup.key).where(SubGroup.partitioning_id == step.partitioning_id)
    if key is not None and session.scalar(keys.where(SubGroup.key == key)) is None:
        known = session.scalars(keys.order_by(SubGroup.key).limit(20)).all()
        raise NotFound(f"sub-group of step {step.name}", key, list(known))


def groupings_named(session: Session, names: Collection[str]) -> Sequence[DataGrouping]:
    """Return the data groupings of these names, ordered by name."""
    return session.scalars(
        sa.select(DataGrouping).where(DataGrouping.name.in_(names)).order_by(DataGrouping.name)
    ).all()


def _load(session: Session, which: sa.ColumnElement[bool]) -> tuple[PipelineView, ...]:
    query = (
        sa.select(PipelineRevision)
        .join(Pipeline, _is_current())
        .where(which)
        .options(joinedload(PipelineRevision.pipeline).joinedload(Pipeline.data_grouping))
        .order_by(Pipeline.name)
        .execution_options(populate_existing=True)
    )
    revisions = session.scalars(query).all()
    steps = _steps(session, which)
    return tuple(_pipeline(revision, steps[revision.id]) for revision in revisions)


def _is_current() -> sa.ColumnElement[bool]:
    return sa.and_(PipelineRevision.pipeline_id == Pipeline.id, PipelineRevision.number == Pipeline.revision)


def _steps(session: Session, which: sa.ColumnElement[bool]) -> dict[int, list[StepView]]:
    upstreams: dict[int, list[StepId]] = defaultdict(list)
    for revision_id, upstream_id in session.execute(_of_current(ReductionStepDependency, which)):
        upstreams[revision_id].append(upstream_id)
    query = (
        sa.select(ReductionStepRevision)
        .join(PipelineRevision, ReductionStepRevision.pipeline_revision_id == PipelineRevision.id)
        .join(Pipeline, _is_current())
        .where(which)
        .options(
            joinedload(ReductionStepRevision.step).joinedload(ReductionStep.partitioning),
            joinedload(ReductionStepRevision.software),
            joinedload(ReductionStepRevision.pinned_version),
            joinedload(ReductionStepRevision.config),
        )
        .order_by(ReductionStepRevision.order)
        .execution_options(populate_existing=True)
    )
    steps: dict[int, list[StepView]] = defaultdict(list)
    for revision in session.scalars(query):
        steps[revision.pipeline_revision_id].append(_step(revision, upstreams[revision.id]))
    return steps


def _of_current(
    dependency: type[ReductionStepDependency], which: sa.ColumnElement[bool]
) -> sa.Select[tuple[int, StepId]]:
    return (
        sa.select(dependency.step_revision_id, dependency.upstream_step_id)
        .join(ReductionStepRevision, dependency.step_revision_id == ReductionStepRevision.id)
        .join(PipelineRevision, ReductionStepRevision.pipeline_revision_id == PipelineRevision.id)
        .join(Pipeline, _is_current())
        .where(which)
        .order_by(dependency.upstream_step_id)
    )


def _pipeline(revision: PipelineRevision, steps: Iterable[StepView]) -> PipelineView:
    pipeline = revision.pipeline
    return PipelineView(
        pipeline_id=pipeline.id,
        name=pipeline.name,
        revision=revision.number,
        revision_id=revision.id,
        applied_at=revision.applied_at,
        enabled=pipeline.enabled,
        mode=revision.mode,
        trigger_type=revision.trigger_type,
        trigger_config=revision.trigger_config,
        priority=revision.priority,
        max_in_flight=revision.max_in_flight,
        partition_horizon_days=revision.partition_horizon_days,
        description=revision.description,
        owners=tuple(revision.owners),
        data_grouping_id=pipeline.data_grouping_id,
        data_grouping_name=pipeline.data_grouping.name,
        processing_location_id=pipeline.processing_location_id,
        steps=tuple(steps),
    )


def _step(revision: ReductionStepRevision, upstream_ids: Iterable[StepId]) -> StepView:
    partitioning = revision.step.partitioning
    return StepView(
        step_id=revision.step_id,
        revision_id=revision.id,
        name=revision.step.name,
        order=revision.order,
        description=revision.description,
        final=revision.final,
        fan_in=revision.fan_in,
        cooldown_seconds=revision.cooldown_seconds,
        settle_seconds=revision.settle_seconds,
        partitioning_id=partitioning.id,
        group_by=tuple(partitioning.dimensions),
        upstream_ids=tuple(upstream_ids),
        software_name=revision.software.name,
        software_id=revision.software_id,
        pinned_version=revision.pinned_version.version,
        pinned_version_id=revision.pinned_version_id,
        version_policy=revision.version_policy,
        config_id=revision.config_id,
        config_hash=revision.config.config_hash,
        parameters=revision.config.parameters,
        resources=Resources.model_validate(revision.resources),
        retries=Retries.model_validate(revision.retries),
        escalation=None if revision.escalation is None else Escalation.model_validate(revision.escalation),
        circuit_threshold=revision.circuit_threshold,
        max_in_flight=revision.max_in_flight,
        quality=tuple(QualityLimit.model_validate(limit) for limit in revision.quality),
        retention=Retention(keep=revision.keep, days=revision.keep_days),
    )
