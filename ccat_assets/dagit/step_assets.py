"""One asset for each reduction step; steps of a pipeline with the same sub-groups share one op, which runs them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from ccat_assets.dagit.batch import BatchConfig
from ccat_assets.dagit.checks import check_specs
from ccat_assets.dagit.description import describe_step
from ccat_assets.dagit.names import StepName, raw_key, step_key, step_names
from ccat_assets.dagit.partitions import Partitions
from ccat_assets.dagit.snapshot import PipelineSnapshot, Snapshot, StepSnapshot
from ccat_assets.dagit.steps_of_run import Event, StepsOfRun
from ccat_assets.wiring.application import Application

KEYS_PER_RUN = 100  # the daemon plans a run's partitions one by one, some 20 ms each
_Steps = Mapping[StepName, StepSnapshot]


def step_assets(snapshot: Snapshot, partitions: Partitions) -> list[dg.AssetsDefinition]:
    """Return the assets of all steps of all pipelines."""
    names: dict[str, list[StepName]] = defaultdict(list)
    for name in step_names(snapshot):
        names[name.pipeline].append(name)
    found: list[dg.AssetsDefinition] = []
    for pipeline in snapshot.pipelines:
        ops: dict[str, dict[StepName, StepSnapshot]] = defaultdict(dict)
        for name, step in zip(names[pipeline.name], pipeline.steps, strict=True):
            ops[name.op][name] = step
        found += [_op_assets(op, pipeline, names[pipeline.name], steps, partitions) for op, steps in ops.items()]
    return found


def _op_assets(
    op: str, pipeline: PipelineSnapshot, names: Collection[StepName], steps: _Steps, partitions: Partitions
) -> dg.AssetsDefinition:
    """Return the assets of the steps that share an op; `names` are those of the whole pipeline's steps."""

    @dg.multi_asset(
        name=op,
        specs=[_spec(name, pipeline, step, partitions) for name, step in steps.items()],
        check_specs=[
            check
            for name, step in steps.items()
            for check in check_specs(name.asset_key, partitions.of(pipeline.grouping, step.group_by), step.quality)
        ],
        can_subset=True,  # also so that neither an asset nor its checks need have a result
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=KEYS_PER_RUN),
    )
    def materialize(
        context: dg.AssetExecutionContext, config: BatchConfig, application: dg.ResourceParam[Application]
    ) -> Iterator[Event]:
        selected = {name: step for name, step in steps.items() if name.asset_key in context.selected_asset_keys}
        yield from StepsOfRun(context, application, pipeline, names, selected).execute(config)

    return materialize


def _spec(name: StepName, pipeline: PipelineSnapshot, step: StepSnapshot, partitions: Partitions) -> dg.AssetSpec:
    digest = (step.digest or "unknown")[:12]
    return dg.AssetSpec(
        key=name.asset_key,
        deps=_deps(pipeline, step, partitions),
        description=describe_step(pipeline, step),
        group_name=name.group,
        owners=list(pipeline.owners),
        kinds={"apptainer" if step.image else "python"},
        code_version=f"{step.version}-{digest}-{step.config_hash[:12]}",
        skippable=True,
        partitions_def=partitions.of(pipeline.grouping, step.group_by),
        tags={"ccat/mode": pipeline.mode, "ccat/trigger": pipeline.trigger, "ccat/final": str(step.final).lower()},
        metadata=_facts(pipeline, step),
    )


def _deps(pipeline: PipelineSnapshot, step: StepSnapshot, partitions: Partitions) -> list[dg.AssetDep]:
    """Return the asset's dependencies.

    Between steps with the same sub-groups Dagster maps partitions one to one; a step with the one sub-group `all` reads
    all of them. Any other edge is only drawn: Dagster has no mapping for it, and which sub-groups wait for which is
    decided in ops-db.
    """
    group_bys = {other.name: other.group_by for other in pipeline.steps}
    there: dict[dg.AssetKey, dg.PartitionsDefinition[str] | None] = {
        step_key(pipeline.name, other): partitions.of(pipeline.grouping, group_bys[other]) for other in step.upstreams
    }
    if not there:
        there = {raw_key(pipeline.grouping): partitions.of_raw(pipeline.grouping)}
    here = partitions.of(pipeline.grouping, step.group_by)
    coarser = dg.SpecificPartitionsPartitionMapping([]) if step.group_by else dg.AllPartitionMapping()
    return [
        dg.AssetDep(key) if cut is None or cut is here else dg.AssetDep(key, partition_mapping=coarser)
        for key, cut in there.items()
    ]


def _facts(pipeline: PipelineSnapshot, step: StepSnapshot) -> dict[str, object]:
    return {
        "pipeline_revision": pipeline.revision,
        "data_grouping": pipeline.grouping,
        "group_by": ", ".join(step.group_by) or "all",
        "software": f"{step.software} {step.version}",
        "version_policy": step.version_policy,
        "image": step.image or "none: plain process",
        "digest": step.digest or "unknown",
        "config_hash": step.config_hash,
        "cooldown_s": step.cooldown_seconds,
        "settle_s": step.settle_seconds,
        "fan_in": step.fan_in,
    }
