"""Showing in Dagit what was run without it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from ccat_assets.application import Application
from ccat_assets.assets import KEYS_PER_RUN
from ccat_assets.batch import BatchConfig
from ccat_assets.build import build
from ccat_assets.names import StepName, step_names
from ccat_assets.partitions import sync_partitions
from ccat_assets.raw_assets import observe_raw
from ccat_assets.snapshot import read_snapshot
from ccat_assets.unpublished import count_unpublished, unpublished_keys
from ccat_models.tables.base import StepId
from resources.holder import is_gone

PUBLISHER_TAG = "ccat/publisher"
_BEGUN = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)

Progress = Callable[[int], None]


@dataclass(frozen=True)
class _Batch:
    name: StepName
    keys: Sequence[str]


def publish_to_home(application: Application, *, progress: Progress | None = None) -> int:
    """Publish to the Dagster instance of these settings; see `publish`."""
    with dg.DagsterInstance.from_config(str(application.settings.dagster_directory)) as instance:
        return publish(application, instance, progress=progress)


def publish(application: Application, instance: dg.DagsterInstance, *, progress: Progress | None = None) -> int:
    """Show every run that has ended and that Dagster does not know; return how many were shown.

    One short Dagster run for up to 100 sub-groups of a step, which runs nothing. Whoever does this may be killed at any
    time and do it again: each run of ops-db is materialized once. `progress` is told how many are shown so far. Raises
    RuntimeError where Dagster takes the events but does not come to their end.
    """
    _end_abandoned(instance)
    with application.ops_db.read() as session:
        snapshot = read_snapshot(session)
        sync_partitions(instance, session)
        observe_raw(instance, session)
        names = step_names(snapshot)
        keys = unpublished_keys(session, application.clock())
    batches = list(_batches(names, keys))
    if not batches:
        return 0
    job = build(snapshot, application).resolve_implicit_global_asset_job_def()
    shown = 0
    for batch in batches:
        shown += _publish_batch(application, instance, job, batch)
        if progress is not None:
            progress(shown)
    return shown


def run_config(name: StepName, config: BatchConfig) -> dict[str, object]:
    """Return the configuration of a run of one step."""
    return {"ops": {name.op: {"config": config.model_dump(exclude_none=True)}}}


def _batches(names: Sequence[StepName], keys: Mapping[StepId, list[str]]) -> Iterator[_Batch]:
    for name in names:
        waiting = keys.get(StepId(name.step_id), [])
        for start in range(0, len(waiting), KEYS_PER_RUN):
            yield _Batch(name, waiting[start : start + KEYS_PER_RUN])


def _publish_batch(application: Application, instance: dg.DagsterInstance, job: dg.JobDefinition, batch: _Batch) -> int:
    name, keys = batch.name, batch.keys
    with application.ops_db.read() as session:
        before = count_unpublished(session, application.clock(), name.step_id, keys)
    config = run_config(name, BatchConfig(keys=list(keys), publish_only=True))
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[name.asset_key],
        partition_key=keys[0],
        # Failures of the runs shown make the Dagster run fail, which is no news for whoever publishes.
        run_config={**config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={PUBLISHER_TAG: application.executor.holder},
        raise_on_error=False,
    )
    with application.ops_db.read() as session:
        left = count_unpublished(session, application.clock(), name.step_id, keys)
    if left and left == before:
        raise RuntimeError(f"{name.pipeline}/{name.step}: nothing was shown, see Dagster run {result.run_id}")
    return before - left


def _end_abandoned(instance: dg.DagsterInstance) -> None:
    """End the Dagster runs of publishers that died: no daemon watches over them, they would run for good."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(_BEGUN))):
        holder = run.tags.get(PUBLISHER_TAG)
        if holder is not None and is_gone(holder):
            instance.report_run_failed(run, "the process that published died; what it did not show is shown anew")
