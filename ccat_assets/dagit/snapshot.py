"""What ops-db says of pipelines when a code location loads: plain JSON, the same for all processes of that load."""

from collections import defaultdict
from collections.abc import Mapping

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from ccat_models.pipeline.values import QualityLimit
from ccat_models.pipeline.versions import target_version
from ccat_models.pipeline.view import PipelineView, StepView, list_pipelines
from ccat_models.tables.base import StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import DataGrouping, ReductionSoftwareVersion, ReductionStepRevision
from ccat_models.tables.places import DataLocation
from ccat_models.tables.products import QualityMetric


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepSnapshot(_Plain):
    """A step with the version of its software that it runs now."""

    step_id: int
    name: str
    description: str
    final: bool
    group_by: tuple[str, ...]
    upstreams: tuple[str, ...]
    software: str
    version: str
    version_policy: str
    image: str | None
    digest: str | None  # sha256 of the image, or of the code of a plain process
    config_hash: str
    cooldown_seconds: int
    settle_seconds: int
    fan_in: str
    quality: tuple[QualityLimit, ...]
    metrics: tuple[str, ...]  # names that its newest completed run left


class PipelineSnapshot(_Plain):
    """A pipeline in its current revision, its steps upstreams first."""

    name: str
    revision: int
    description: str
    owners: tuple[str, ...]
    mode: str
    trigger: str
    enabled: bool
    grouping: str
    steps: tuple[StepSnapshot, ...]


class GroupingSnapshot(_Plain):
    """A data grouping that a pipeline reads."""

    name: str
    description: str
    rules: tuple[Mapping[str, object], ...]


class Snapshot(_Plain):
    """All pipelines, the oldest first, and the groupings they read."""

    pipelines: tuple[PipelineSnapshot, ...] = ()
    groupings: tuple[GroupingSnapshot, ...] = ()
    locations: tuple[str, ...] = ()  # that run them


def read_snapshot(session: Session) -> Snapshot:
    """Return what ops-db holds now, in a constant number of queries."""
    pipelines = sorted(list_pipelines(session), key=lambda pipeline: pipeline.pipeline_id)
    versions, metrics = _versions(session), _metrics(session)
    read = {pipeline.data_grouping_name for pipeline in pipelines}
    groupings = session.scalars(sa.select(DataGrouping).where(DataGrouping.name.in_(read)).order_by(DataGrouping.name))
    locations = {pipeline.processing_location_id for pipeline in pipelines}
    names = sa.select(DataLocation.name).where(DataLocation.id.in_(locations)).order_by(DataLocation.name)
    return Snapshot(
        pipelines=tuple(_pipeline(pipeline, versions, metrics) for pipeline in pipelines),
        groupings=tuple(
            GroupingSnapshot(name=row.name, description=row.description, rules=tuple(row.filter_rules))
            for row in groupings
        ),
        locations=tuple(session.scalars(names)),
    )


def _versions(session: Session) -> dict[int, ReductionSoftwareVersion]:
    """Return of each step revision the version that it runs now."""
    revision = ReductionStepRevision
    wanted = target_version(revision.version_policy, revision.software_id, revision.pinned_version_id)
    query = sa.select(revision.id, ReductionSoftwareVersion).join(
        ReductionSoftwareVersion, ReductionSoftwareVersion.id == wanted
    )
    return dict(session.execute(query).tuples().all())


def _metrics(session: Session) -> dict[StepId, list[str]]:
    newest = (
        sa.select(sa.func.max(Run.id)).where(Run.status == RunStatus.COMPLETED, Run.is_result).group_by(Run.step_id)
    )
    query = (
        sa.select(Run.step_id, QualityMetric.name)
        .join(Run, Run.id == QualityMetric.run_id)
        .where(QualityMetric.run_id.in_(newest))
        .order_by(QualityMetric.name)
    )
    metrics: dict[StepId, list[str]] = defaultdict(list)
    for step_id, name in session.execute(query).tuples():
        metrics[step_id].append(name)
    return metrics


def _pipeline(
    view: PipelineView, versions: Mapping[int, ReductionSoftwareVersion], metrics: Mapping[StepId, list[str]]
) -> PipelineSnapshot:
    names = {step.step_id: step.name for step in view.steps}
    return PipelineSnapshot(
        name=view.name,
        revision=view.revision,
        description=view.description,
        owners=view.owners,
        mode=view.mode.value,
        trigger=view.trigger_type.value,
        enabled=view.enabled,
        grouping=view.data_grouping_name,
        steps=tuple(
            _step(step, names, versions[step.revision_id], metrics.get(step.step_id, [])) for step in view.steps
        ),
    )


def _step(
    view: StepView, names: Mapping[StepId, str], version: ReductionSoftwareVersion, metrics: list[str]
) -> StepSnapshot:
    return StepSnapshot(
        step_id=view.step_id,
        name=view.name,
        description=view.description,
        final=view.final,
        group_by=view.group_by,
        upstreams=tuple(names[upstream] for upstream in view.upstream_ids),
        software=view.software_name,
        version=version.version,
        version_policy=view.version_policy.value,
        image=version.image_reference,
        digest=version.image_sha256 or version.code_sha256,
        config_hash=view.config_hash,
        cooldown_seconds=view.cooldown_seconds,
        settle_seconds=view.settle_seconds,
        fan_in=view.fan_in.value,
        quality=view.quality,
        metrics=tuple(metrics),
    )
