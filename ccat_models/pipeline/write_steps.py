"""The rows of a pipeline's new revision and its steps."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.application import Application
from ccat_models.pipeline.digests import config_hash
from ccat_models.pipeline.graph import topological_order
from ccat_models.pipeline.known import Known
from ccat_models.pipeline.parts import CronTrigger, StepDeclaration, Trigger
from ccat_models.pipeline.quality import judge_again
from ccat_models.pipeline.values import Retention
from ccat_models.sub_group.refresh import find_or_create_partitioning
from ccat_models.tables.base import StepId
from ccat_models.tables.execution import RerunRequest
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.pipelines import (
    FanIn,
    Keep,
    Pipeline,
    PipelineRevision,
    ReductionStep,
    ReductionStepConfig,
    ReductionStepDependency,
    ReductionStepRevision,
    TriggerType,
)


def write_steps(session: Session, application: Application, known: Known, pipeline: Pipeline) -> None:
    """Write the revision with the pipeline's present number: its steps and their dependencies."""
    revision = _write_revision(session, application, pipeline)
    declaration = application.declaration.with_defaults()
    steps = _write_identities(session, declaration.steps, pipeline)
    order = topological_order({step.name: step.depends_on for step in declaration.steps})
    for step in declaration.steps:
        row = _step_revision(session, step, known)
        row.pipeline_revision_id, row.step_id, row.order = revision.id, steps[step.name], order.index(step.name)
        session.add(row)
        session.flush()
        judge_again(session, row.step_id, step.quality, application.now)
        session.add_all(
            ReductionStepDependency(step_revision_id=row.id, upstream_step_id=steps[upstream])
            for upstream in step.depends_on
        )
    session.flush()


def _write_revision(session: Session, application: Application, pipeline: Pipeline) -> PipelineRevision:
    declaration = application.declaration
    revision = PipelineRevision(
        pipeline_id=pipeline.id,
        number=pipeline.revision,
        declaration=application.document,
        description=declaration.description,
        mode=declaration.mode,
        trigger_type=TriggerType(declaration.trigger.type),
        trigger_config=_trigger_config(declaration.trigger),
        priority=declaration.priority,
        max_in_flight=declaration.max_in_flight,
        partition_horizon_days=declaration.partition_horizon_days,
        owners=list(declaration.owners),
        applied_at=application.now,
        applied_by=application.applied_by,
    )
    session.add(revision)
    session.flush()
    return revision


def _trigger_config(trigger: Trigger) -> dict[str, str]:
    if not isinstance(trigger, CronTrigger):
        return {}
    return {"expression": trigger.expression, "time_zone": trigger.time_zone}


def _write_identities(
    session: Session, declared: tuple[StepDeclaration, ...], pipeline: Pipeline
) -> Mapping[str, StepId]:
    query = sa.select(ReductionStep).where(ReductionStep.pipeline_id == pipeline.id)
    rows = {step.name: step for step in session.scalars(query)}
    for step in declared:
        partitioning = find_or_create_partitioning(session, pipeline.data_grouping_id, step.group_by)
        row = rows.get(step.name)
        if row is None:
            rows[step.name] = ReductionStep(pipeline_id=pipeline.id, name=step.name, partitioning_id=partitioning.id)
            session.add(rows[step.name])
        elif row.partitioning_id != partitioning.id:
            row.partitioning_id = partitioning.id
            session.execute(sa.delete(RerunRequest).where(RerunRequest.step_id == row.id))
    session.flush()
    return {name: row.id for name, row in rows.items()}


def _step_revision(session: Session, step: StepDeclaration, known: Known) -> ReductionStepRevision:
    version, retention = known.versions[step.software, step.version], step.retention or Retention(keep=Keep.ALWAYS)
    return ReductionStepRevision(
        description=step.description,
        final=bool(step.final),
        fan_in=step.when or FanIn.ANY,
        cooldown_seconds=step.cooldown_seconds,
        settle_seconds=step.settle_seconds,
        software_id=version.software_id,
        pinned_version_id=version.id,
        version_policy=step.version_policy,
        config_id=_config_id(session, step),
        resources=step.resources.model_dump(),
        retries=step.retries.model_dump(),
        escalation=None if step.escalation is None else step.escalation.model_dump(),
        circuit_threshold=step.circuit_threshold,
        max_in_flight=step.max_in_flight,
        quality=[limit.model_dump() for limit in step.quality],
        keep=retention.keep,
        keep_days=retention.days,
    )


def _config_id(session: Session, step: StepDeclaration) -> int:
    digest = config_hash(step.parameters)
    values = {"parameters": step.parameters, "config_hash": digest}
    session.execute(insert_or_ignore(session, ReductionStepConfig).values(values))
    found = session.scalars(sa.select(ReductionStepConfig.id).where(ReductionStepConfig.config_hash == digest))
    return found.one()
