"""Publishes runs that were not requested by Dagster, and decisions about published ones."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from ccat_assets.dagit.batch import BatchConfig
from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.catalogue import definitions_of
from ccat_assets.dagit.names import StepName, step_names
from ccat_assets.dagit.partitions import add_keys, partitions_name, sync_partitions
from ccat_assets.dagit.raw_assets import publish_raw
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_assets.dagit.step_assets import KEYS_PER_RUN
from ccat_assets.wiring.application import Application
from ccat_models.run.listing import sub_groups_of
from ccat_models.run.unpublished import steps_due, unpublished_failures, unpublished_keys, unpublished_runs
from ccat_models.tables.base import RunId, StepId
from resources.run.holder import is_gone

PUBLISHER_TAG = "ccat/publisher"
_SENSOR_TAG, _USER_TAG = "dagster/sensor_name", "user"  # by which Dagit names who launched a run
_TICK_SECONDS = 15.0  # Dagster waits a minute for a sensor's tick
_LEFT_TO_DAGSTER = timedelta(minutes=10)
_BEGUN = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)

Progress = Callable[[int], None]


@dataclass(frozen=True)
class _Batch:
    name: StepName
    partitions: str | None  # the name of its keys in Dagster; None where it has a single one
    keys: Sequence[str]


class _NothingPublishedError(Exception):
    """A Dagster run that was to publish runs published none."""


def publish_to_home(application: Application, *, progress: Progress | None = None) -> int:
    """Publish to the Dagster instance of these settings; return how many runs. See `publish`."""
    with dg.DagsterInstance.from_config(str(application.settings.dagster_directory)) as instance:
        return publish(application, instance, progress=progress)


def publish(application: Application, instance: dg.DagsterInstance, *, progress: Progress | None = None) -> int:
    """Publish sub-groups, raw data and every run that has ended; return how many runs. See `publish_ended`."""
    with application.ops_db.read() as session:
        sync_partitions(instance, session, clock=application.clock)
        publish_raw(instance, session, clock=application.clock)
    return publish_ended(application, instance, progress=progress)


def publish_ended(
    application: Application,
    instance: dg.DagsterInstance,
    *,
    steps: Collection[StepId] | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
    sensor: str | None = None,
) -> int:
    """Publish every run, or those of some steps, that has ended and is not published; return how many.

    Each short Dagster run publishes up to 100 sub-groups of a step, and executes no job. This may be killed at any time
    and repeated: each run of ops-db is materialized once. Where the budget is spent, it stops between two Dagster runs.
    `progress` is called with the number published so far. In Dagit, the runs are those of the `sensor`, else of the
    user. Raises RuntimeError, after all others are published, naming
    the steps of which a Dagster run published nothing.
    """
    _end_abandoned(instance)
    with application.ops_db.read() as session:
        keys = _by_step(unpublished_keys(session, application.clock(), steps))
        snapshot = read_snapshot(session) if keys else Snapshot()
    batches = list(_batches(snapshot, keys))
    if not batches:
        return 0
    job = definitions_of(snapshot, application).resolve_implicit_global_asset_job_def()
    publisher = _Publisher(application, instance, job, sensor)
    published, limit, problems = 0, budget or Budget(), []
    for batch in batches:
        if limit.spent:
            break
        try:
            published += publisher.publish(batch)
        except _NothingPublishedError as problem:
            problems.append(str(problem))
        if progress is not None:
            progress(published)
    if problems:
        raise RuntimeError("\n".join(problems))
    return published


def due(application: Application, instance: dg.DagsterInstance) -> Mapping[StepId, datetime]:
    """Return the steps that have enough to publish, and since when it waits.

    Runs that ended while a Dagster run of their step is in progress are left to it for ten minutes: it may be about to
    publish them.
    """
    now = application.clock()
    with application.cluster.ops_db.read() as session:
        waiting = steps_due(session, now)
        names = step_names(read_snapshot(session)) if waiting else []
    at_work = _at_work(instance) if waiting else frozenset()
    busy = {name.step_id for name in names if name.asset_key in at_work}
    return {step: since for step, since in waiting.items() if step not in busy or since <= now - _LEFT_TO_DAGSTER}


def publish_due(application: Application, instance: dg.DagsterInstance, steps: Collection[StepId]) -> int:
    """Publish what these steps have, as much as a sensor's tick has time for; return how many runs."""
    return publish_ended(application, instance, steps=steps, budget=Budget(_TICK_SECONDS), sensor="publishing")


def publish_decided(application: Application, instance: dg.DagsterInstance, run_ids: Sequence[RunId]) -> None:
    """Publish the checks of completed runs again after decisions, by one short Dagster run for each of their steps.

    A Dagster run is needed: from elsewhere, Dagster accepts only one result of a check for each partition, ever. Raises
    RuntimeError where the Dagster run fails.
    """
    with application.ops_db.read() as session:
        snapshot = read_snapshot(session)
        found = sub_groups_of(session, run_ids)
    job = definitions_of(snapshot, application).resolve_implicit_global_asset_job_def()
    publisher = _Publisher(application, instance, job, sensor="decisions")
    for batch in _batches(snapshot, _by_step((step_id, key) for _, step_id, key in found)):
        runs = [int(run_id) for run_id, step_id, key in found if step_id == batch.name.step_id and key in batch.keys]
        config = BatchConfig(keys=list(batch.keys), decided=runs)
        result = publisher.execute(batch, batch.keys[0], config)
        if not result.success:
            raise RuntimeError(f"{batch.name.pipeline}/{batch.name.step}: see Dagster run {result.run_id}")


def _at_work(instance: dg.DagsterInstance) -> Collection[dg.AssetKey]:
    """Return the assets of the Dagster runs in progress, except those that only publish."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return {key for run in runs if PUBLISHER_TAG not in run.tags for key in run.asset_selection or ()}


def run_config(name: StepName, config: BatchConfig) -> dict[str, object]:
    """Return the Dagster run configuration for one step."""
    return {"ops": {name.op: {"config": config.model_dump(exclude_none=True)}}}


def _by_step(found: Iterable[tuple[StepId, str]]) -> Mapping[StepId, list[str]]:
    """Return pairs of step and sub-group as the sub-groups of each step."""
    keys: dict[StepId, list[str]] = defaultdict(list)
    for step_id, key in found:
        keys[step_id].append(key)
    return keys


def _batches(snapshot: Snapshot, keys: Mapping[StepId, list[str]]) -> Iterator[_Batch]:
    cuts = {
        step.step_id: (pipeline.grouping, step.group_by) for pipeline in snapshot.pipelines for step in pipeline.steps
    }
    for name in step_names(snapshot):
        waiting = keys.get(StepId(name.step_id), [])
        grouping, group_by = cuts[name.step_id]
        partitions = partitions_name(grouping, group_by) if group_by else None
        for start in range(0, len(waiting), KEYS_PER_RUN):
            yield _Batch(name, partitions, waiting[start : start + KEYS_PER_RUN])


@dataclass(frozen=True)
class _Publisher:
    """Publishes batches by Dagster runs within this process."""

    application: Application
    instance: dg.DagsterInstance
    job: dg.JobDefinition
    sensor: str | None  # on whose behalf; None: the user's

    def publish(self, batch: _Batch) -> int:
        """Publish the runs of one batch; return how many are published now.

        Dagster shows the partition for which a Dagster run starts as failed where that run fails without materializing
        it. So it starts for one that failed, if there is one: another may be published already, by a process that died.
        """
        name, keys, ops_db, clock = batch.name, batch.keys, self.application.ops_db, self.application.clock
        with ops_db.read() as session:
            before = unpublished_runs(session, clock(), name.step_id, keys)
            failed = unpublished_failures(session, clock(), name.step_id, keys)
        if not before:  # another process has published them
            return 0
        result = self.execute(batch, [*failed, *keys][0], BatchConfig(keys=list(keys), publish_only=True))
        with ops_db.read() as session:
            left = before & unpublished_runs(session, clock(), name.step_id, keys)  # more may end now
        if left == before:
            problem = f"nothing was published, see Dagster run {result.run_id}"
            raise _NothingPublishedError(f"{name.pipeline}/{name.step}: {problem}")
        return len(before - left)

    def execute(self, batch: _Batch, first: str, config: BatchConfig) -> dg.ExecuteInProcessResult:
        """Execute the Dagster run of a batch, for the partition `first` and all others in `config`."""
        if batch.partitions is not None:  # some may be new, or had been hidden
            add_keys(self.instance, batch.partitions, batch.keys)
        by = {_USER_TAG: self.application.settings.user} if self.sensor is None else {_SENSOR_TAG: self.sensor}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[batch.name.asset_key],
            partition_key=first,
            # A failed run makes the Dagster run that publishes it fail: this is expected, not worth a message here.
            run_config={**run_config(batch.name, config), **quiet},
            tags={PUBLISHER_TAG: self.application.executor.holder, **by},
            raise_on_error=False,
        )


def _end_abandoned(instance: dg.DagsterInstance) -> None:
    """End the Dagster runs of processes that died while publishing; Dagster's daemon does not end them."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(_BEGUN))):
        holder = run.tags.get(PUBLISHER_TAG)
        if holder is not None and is_gone(holder):
            instance.report_run_failed(run, "the process that published died; the rest is published by another run")
