"""The pipelines in ops-db when a code location loads: plain JSON, the same for all processes of that load."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from ccat_models.pipeline.values import QualityLimit
from ccat_models.pipeline.versions import versions_now
from ccat_models.pipeline.view import PipelineView, StepView, groupings_named, list_pipelines
from ccat_models.product.quality import newest_metrics
from ccat_models.raw.locations import location_names
from ccat_models.tables.base import StepId
from ccat_models.tables.pipelines import ReductionSoftwareVersion, TriggerType
from resources.ops_db import Session


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
    metrics: tuple[str, ...]  # names of those of its newest completed run


class CronSnapshot(_Plain):
    """When a cron trigger begins rounds."""

    expression: str
    time_zone: str


class PipelineSnapshot(_Plain):
    """A pipeline in its current revision; a step comes after its upstreams."""

    name: str
    revision: int
    description: str
    owners: tuple[str, ...]
    mode: str
    trigger: str
    cron: CronSnapshot | None = None  # of a cron trigger
    enabled: bool
    grouping: str
    steps: tuple[StepSnapshot, ...]

    @property
    def first_steps(self) -> Sequence[StepSnapshot]:
        """Return the steps that only read raw data and have the same sub-groups as the first one of them."""
        return [step for step in self.steps if not step.upstreams and step.group_by == self.steps[0].group_by]

    def upstreams_of(self, names: Collection[str]) -> set[str]:
        """Return the names of the steps that these depend on, directly or through others, without these."""
        needed = set(names)
        for step in reversed(self.steps):
            if step.name in needed:
                needed.update(step.upstreams)
        return needed - set(names)


class GroupingSnapshot(_Plain):
    """A data grouping that a pipeline reads."""

    name: str
    description: str
    rules: tuple[Mapping[str, object], ...]


class Snapshot(_Plain):
    """All pipelines, the oldest first, and the groupings they read."""

    pipelines: tuple[PipelineSnapshot, ...] = ()
    groupings: tuple[GroupingSnapshot, ...] = ()
    locations: tuple[str, ...] = ()  # where they run


def read_snapshot(session: Session) -> Snapshot:
    """Return the pipelines that ops-db has now, in a constant number of queries."""
    pipelines = sorted(list_pipelines(session), key=lambda pipeline: pipeline.pipeline_id)
    versions, metrics = versions_now(session), newest_metrics(session)
    read = {pipeline.data_grouping_name for pipeline in pipelines}
    locations = {pipeline.processing_location_id for pipeline in pipelines}
    return Snapshot(
        pipelines=tuple(_pipeline(pipeline, versions, metrics) for pipeline in pipelines),
        groupings=tuple(
            GroupingSnapshot(name=row.name, description=row.description, rules=tuple(row.filter_rules))
            for row in groupings_named(session, read)
        ),
        locations=tuple(location_names(session, locations)),
    )


def _pipeline(
    view: PipelineView, versions: Mapping[int, ReductionSoftwareVersion], metrics: Mapping[StepId, Sequence[str]]
) -> PipelineSnapshot:
    names = {step.step_id: step.name for step in view.steps}
    return PipelineSnapshot(
        name=view.name,
        revision=view.revision,
        description=view.description,
        owners=view.owners,
        mode=view.mode.value,
        trigger=view.trigger_type.value,
        cron=CronSnapshot(**view.trigger_config) if view.trigger_type is TriggerType.CRON else None,
        enabled=view.enabled,
        grouping=view.data_grouping_name,
        steps=tuple(
            _step(step, names, versions[step.revision_id], metrics.get(step.step_id, [])) for step in view.steps
        ),
    )


def _step(
    view: StepView, names: Mapping[StepId, str], version: ReductionSoftwareVersion, metrics: Sequence[str]
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
