"""One asset for each reduction step."""

from collections.abc import Collection, Iterator

import dagster as dg

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.batch import BatchConfig, Ended, keys_of, make, publishing_turn
from ccat_assets.dagit.checks import check_specs, evaluations, files_checked, judgements
from ccat_assets.dagit.dagster_private import report_planned
from ccat_assets.dagit.description import describe_step
from ccat_assets.dagit.links import Links
from ccat_assets.dagit.metadata import files_shown, materialization, table
from ccat_assets.dagit.names import StepName, raw_key, step_names
from ccat_assets.dagit.partitions import Partitions
from ccat_assets.dagit.snapshot import PipelineSnapshot, Snapshot, StepSnapshot
from ccat_assets.dagit.unpublished import read_unpublished
from ccat_assets.wiring.application import Application
from ccat_models.lineage.run_report import read_reports
from ccat_models.run.unpublished import mark_published
from ccat_models.tables.base import RunId
from sensors.dagster_runs import HOLDER_TAG

KEYS_PER_RUN = 100  # the daemon plans a run's partitions one by one, some 20 ms each
_NAMED_IN_FAILURE = 20

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def step_assets(snapshot: Snapshot, partitions: Partitions) -> list[dg.AssetsDefinition]:
    """Return the assets of all steps of all pipelines."""
    names = {(name.pipeline, name.step): name for name in step_names(snapshot)}
    return [
        _step_asset(names[pipeline.name, step.name], pipeline, step, partitions)
        for pipeline in snapshot.pipelines
        for step in pipeline.steps
    ]


def _step_asset(
    name: StepName, pipeline: PipelineSnapshot, step: StepSnapshot, partitions: Partitions
) -> dg.AssetsDefinition:
    cut = partitions.of(pipeline.grouping, step.group_by)
    declared = frozenset(limit.check_name for limit in step.quality)

    @dg.multi_asset(
        name=name.op,
        specs=[_spec(name, pipeline, step, partitions)],
        check_specs=check_specs(name.asset_key, cut, step.quality),
        can_subset=True,  # so that neither the asset nor its checks need have a result
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=KEYS_PER_RUN),
    )
    def materialize(
        context: dg.AssetExecutionContext, config: BatchConfig, application: dg.ResourceParam[Application]
    ) -> Iterator[Event]:
        context.instance.add_run_tags(context.run.run_id, {HOLDER_TAG: application.executor.holder})
        keys = keys_of(context, config)
        if config.decided is not None:
            with application.ops_db.read() as session:
                reports = read_reports(session, [RunId(run_id) for run_id in config.decided])
            yield from (one for report in reports.values() for one in judgements(report, declared))
        elif config.publish_only:
            with publishing_turn(application):
                with application.ops_db.read() as session:
                    ended = read_unpublished(session, context.instance, name, keys, application.clock())
                yield from _publish(context, application, name, ended, declared)
        else:
            _plan(context, name, keys)
            made = make(application, name, keys, config, context.run)
            yield from _publish(context, application, name, made, declared)

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

    Between steps with the same sub-groups Dagster maps partitions one to one. Any other edge is only drawn: which
    sub-groups wait for which is decided in ops-db.
    """
    group_bys = {other.name: other.group_by for other in pipeline.steps}
    there: dict[dg.AssetKey, dg.PartitionsDefinition[str] | None] = {
        dg.AssetKey([pipeline.name, other]): partitions.of(pipeline.grouping, group_bys[other])
        for other in step.upstreams
    }
    if not there:
        there = {raw_key(pipeline.grouping): partitions.of_raw(pipeline.grouping)}
    here = partitions.of(pipeline.grouping, step.group_by)
    nothing = dg.SpecificPartitionsPartitionMapping([])
    return [
        dg.AssetDep(key) if cut is None or cut is here else dg.AssetDep(key, partition_mapping=nothing)
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


def _publish(
    context: dg.AssetExecutionContext, application: Application, name: StepName, ended: Ended, declared: Collection[str]
) -> Iterator[Event]:
    """Yield the events of completed runs; raise dg.Failure naming the sub-groups without products.

    Dagster stores each event before it asks for the next one.
    """
    wanted = (one for report in ended.completed for one in (*files_shown(report), *files_checked(report)))
    files = Files(application.cluster, wanted)
    for report in ended.completed:
        yield materialization(report, files, Links(application.settings.products_url))
        yield from evaluations(report, declared, files)
    if ended.failed:
        # Dagit shows a partition as failed if it was planned after its last materialization, by a run that failed.
        report_planned(context.instance, context.run, name.op, name.asset_key, ended.failed)
    with application.ops_db.write() as session:
        mark_published(session, ended.published, application.clock())
    if ended.failed:
        rows = sorted(ended.failed.items())
        more = f"\n… and {len(rows) - _NAMED_IN_FAILURE} more" if len(rows) > _NAMED_IN_FAILURE else ""
        named = "\n".join(f"{key}: {why}" for key, why in rows[:_NAMED_IN_FAILURE])
        raise dg.Failure(
            f"{len(rows)} of {len(rows) + len(ended.completed)} sub-groups have no products:\n{named}{more}",
            metadata={"failed": table({"sub_group": "string", "why": "string"}, rows)},
            allow_retries=False,
        )


def _plan(context: dg.AssetExecutionContext, name: StepName, keys: list[str]) -> None:
    """Report the sub-groups as planned, so that Dagit shows them in progress; Dagster plans its own partitions."""
    if "dagster/asset_partition_range_start" in context.run.tags:
        return
    own = context.run.tags.get("dagster/partition")
    report_planned(context.instance, context.run, name.op, name.asset_key, [key for key in keys if key != own])
