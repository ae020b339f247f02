"""One asset for each reduction step; steps of a pipeline with the same sub-groups share one op, which runs them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

import dagster as dg

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.backfills import neighbours
from ccat_assets.dagit.batch import Batch, BatchConfig, Ended, keys_of, publishing_turn
from ccat_assets.dagit.checks import check_specs, evaluations, files_checked, judgements
from ccat_assets.dagit.dagster_private import report_planned
from ccat_assets.dagit.description import describe_step
from ccat_assets.dagit.failures import failure, not_run
from ccat_assets.dagit.links import Links
from ccat_assets.dagit.metadata import files_shown, logs_shown, materialization, table
from ccat_assets.dagit.names import StepName, raw_key, step_key, step_names
from ccat_assets.dagit.partitions import Partitions
from ccat_assets.dagit.progress import Progress
from ccat_assets.dagit.snapshot import PipelineSnapshot, Snapshot, StepSnapshot
from ccat_assets.dagit.unpublished import read_unpublished
from ccat_assets.wiring.application import Application
from ccat_models.lineage.run_report import read_reports
from ccat_models.run.unpublished import mark_published
from ccat_models.tables.base import RunId
from sensors.dagster_runs import HOLDER_TAG

KEYS_PER_RUN = 100  # the daemon plans a run's partitions one by one, some 20 ms each
_NAMED_IN_FAILURE = 20
# Tags of a Dagster run that say what it is about, in the list of all runs.
STEPS_TAG, SUB_GROUPS_TAG, MADE_TAG = "ccat/steps", "ccat/sub_groups", "ccat/made"

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation
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
        keys = keys_of(context, config)
        selected = {name: step for name, step in steps.items() if name.asset_key in context.selected_asset_keys}
        context.instance.add_run_tags(
            context.run.run_id,
            {
                HOLDER_TAG: application.executor.holder,
                STEPS_TAG: ", ".join(f"{name.pipeline}/{name.step}" for name in selected),
                SUB_GROUPS_TAG: str(len(keys)),
            },
        )
        publishing = _Publishing(context, application, selected)
        if config.decided is not None:
            yield from publishing.decisions(config.decided)
        elif config.publish_only:
            with publishing_turn(application):
                with application.ops_db.read() as session:
                    ended = [
                        read_unpublished(session, context.instance, name, keys, application.clock())
                        for name in selected
                    ]
                yield from publishing.endings(ended)
        else:
            for name in selected:
                _plan(context, name, keys)
            others = neighbours(context.instance, context.run, pipeline, names, list(selected))
            progress = Progress(context.log.info)
            batch = Batch(application, list(selected), keys, config, context.run, others, progress)
            yield from publishing.endings(batch.make())

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


class _Publishing:
    """Tells Dagster, within one of its runs, how runs of steps ended. Dagster stores each event before the next one."""

    def __init__(self, context: dg.AssetExecutionContext, application: Application, steps: _Steps) -> None:
        self._context = context
        self._application = application
        self._declared = {
            name.step_id: frozenset(limit.check_name for limit in step.quality) for name, step in steps.items()
        }

    def decisions(self, run_ids: Sequence[int]) -> Iterator[Event]:
        """Yield the checks that taints, waivers and new declarations may have changed."""
        with self._application.ops_db.read() as session:
            reports = read_reports(session, [RunId(run_id) for run_id in run_ids])
        for report in reports.values():
            yield from judgements(report, self._declared[report.run.step_id])

    def endings(self, ended: Sequence[Ended]) -> Iterator[Event]:
        """Yield the events of completed runs; raise dg.Failure naming the sub-groups without products."""
        for one in ended:
            yield from self._of_step(one)
        for one in ended:
            # Dagit shows a partition as failed if it was planned after its last materialization, by a run that failed.
            name, context = one.name, self._context
            report_planned(context.instance, context.run, name.op, name.asset_key, one.failed)
        with self._application.ops_db.write() as session:
            published = [run_id for one in ended for run_id in one.published]
            mark_published(session, published, self._application.clock())
        made, failed = sum(len(one.completed) for one in ended), sum(len(one.failed) for one in ended)
        context = self._context
        context.instance.add_run_tags(context.run.run_id, {MADE_TAG: f"{made} of {made + failed}"})
        if failed:
            raise _failure(ended)

    def _of_step(self, ended: Ended) -> Iterator[Event]:
        completed = (one for report in ended.completed for one in chain(files_shown(report), files_checked(report)))
        logs = (one for report in ended.failures for one in logs_shown(report))
        files = Files(self._application.cluster, chain(completed, logs))
        links = Links(self._application.settings.products_url)
        for report in ended.completed:
            yield materialization(report, files, links)
            yield from evaluations(report, self._declared[ended.name.step_id], files)
        for report in ended.failures:
            yield failure(report, files)
        had_run = {report.key for report in ended.failures}
        for key in ended.failed.keys() - had_run:
            yield not_run(ended.name.asset_key, key, ended.failed[key])


def _failure(ended: Sequence[Ended]) -> dg.Failure:
    """Return the failure that names the sub-groups without products, and why they have none."""
    rows = [(one.name.step, key, why) for one in ended for key, why in sorted(one.failed.items())]
    count = len(rows) + sum(len(one.completed) for one in ended)
    more = f"\n… and {len(rows) - _NAMED_IN_FAILURE} more" if len(rows) > _NAMED_IN_FAILURE else ""
    step = "{} " if len(ended) > 1 else ""
    named = "\n".join(f"{step.format(name)}{key}: {why}" for name, key, why in rows[:_NAMED_IN_FAILURE])
    return dg.Failure(
        f"{len(rows)} of {count} sub-groups have no products:\n{named}{more}",
        metadata={"failed": table({"step": "string", "sub_group": "string", "why": "string"}, rows)},
        allow_retries=False,
    )


def _plan(context: dg.AssetExecutionContext, name: StepName, keys: list[str]) -> None:
    """Report the sub-groups as planned, so that Dagit shows them in progress; Dagster plans its own partitions."""
    if "dagster/asset_partition_range_start" in context.run.tags:
        return
    own = context.run.tags.get("dagster/partition")
    report_planned(context.instance, context.run, name.op, name.asset_key, [key for key in keys if key != own])
