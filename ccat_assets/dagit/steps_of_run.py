"""What one Dagster run does for the steps of an op."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

import dagster as dg

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.backfills import neighbours
from ccat_assets.dagit.batch import Batch, BatchConfig, Ended, keys_of, publishing_turn
from ccat_assets.dagit.checks import evaluations, files_checked, judgements
from ccat_assets.dagit.dagster_private import report_planned
from ccat_assets.dagit.failures import failure, not_run
from ccat_assets.dagit.links import Links
from ccat_assets.dagit.metadata import files_shown, logs_shown, materialization, table
from ccat_assets.dagit.names import StepName
from ccat_assets.dagit.progress import Progress
from ccat_assets.dagit.snapshot import PipelineSnapshot, StepSnapshot
from ccat_assets.dagit.unpublished import read_unpublished
from ccat_assets.wiring.application import Application
from ccat_models.lineage.run_report import read_reports
from ccat_models.run.unpublished import mark_published
from ccat_models.tables.base import RunId
from sensors.dagster_runs import HOLDER_TAG

_NAMED_IN_FAILURE = 20
# Tags of a Dagster run that say what it is about, in the list of all runs.
STEPS_TAG, SUB_GROUPS_TAG, MADE_TAG = "ccat/steps", "ccat/sub_groups", "ccat/made"

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


class StepsOfRun:
    """The selected `steps` of a pipeline in a Dagster run; `names` are those of all of the pipeline's steps.

    Dagster stores each event before it asks for the next one.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        application: Application,
        pipeline: PipelineSnapshot,
        names: Collection[StepName],
        steps: Mapping[StepName, StepSnapshot],
    ) -> None:
        self._context = context
        self._application = application
        self._pipeline = pipeline
        self._names = names
        self._selected = list(steps)
        self._declared = {
            name.step_id: frozenset(limit.check_name for limit in step.quality) for name, step in steps.items()
        }

    def execute(self, config: BatchConfig) -> Iterator[Event]:
        """Make or publish what the configuration says, and yield the events; raise dg.Failure where some failed."""
        keys = keys_of(self._context, config)
        self._tag(
            {
                HOLDER_TAG: self._application.executor.holder,
                STEPS_TAG: ", ".join(f"{name.pipeline}/{name.step}" for name in self._selected),
                SUB_GROUPS_TAG: str(len(keys)),
            }
        )
        if config.decided is not None:
            yield from self._decisions(config.decided)
        elif config.publish_only:
            with publishing_turn(self._application):
                yield from self._endings(self._unpublished(keys))
        else:
            yield from self._endings(self._made(keys, config))

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, tags)

    def _made(self, keys: Sequence[str], config: BatchConfig) -> list[Ended]:
        context = self._context
        for name in self._selected:
            _plan(context, name, keys)
        others = neighbours(context.instance, context.run, self._pipeline, self._names, self._selected)
        progress = Progress(context.log.info)
        return Batch(self._application, self._selected, keys, config, context.run, others, progress).make()

    def _unpublished(self, keys: Sequence[str]) -> list[Ended]:
        instance, now = self._context.instance, self._application.clock()
        with self._application.ops_db.read() as session:
            return [read_unpublished(session, instance, name, keys, now) for name in self._selected]

    def _decisions(self, run_ids: Sequence[int]) -> Iterator[Event]:
        """Yield the checks that taints, waivers and new declarations may have changed."""
        with self._application.ops_db.read() as session:
            reports = read_reports(session, [RunId(run_id) for run_id in run_ids])
        for report in reports.values():
            yield from judgements(report, self._declared[report.run.step_id])

    def _endings(self, ended: Sequence[Ended]) -> Iterator[Event]:
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
        self._tag({MADE_TAG: f"{made} of {made + failed}"})
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


def _plan(context: dg.AssetExecutionContext, name: StepName, keys: Sequence[str]) -> None:
    """Report the sub-groups as planned, so that Dagit shows them in progress; Dagster plans its own partitions."""
    if "dagster/asset_partition_range_start" in context.run.tags:
        return
    own = context.run.tags.get("dagster/partition")
    report_planned(context.instance, context.run, name.op, name.asset_key, [key for key in keys if key != own])
