"""Which Dagster runs must be kept: those that Dagit shows a partition by."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

import dagster as dg

from ccat_assets.dagit.dagster_private import newest_runs
from ccat_assets.dagit.names import step_key
from ccat_assets.dagit.partitions import partitions_name
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_assets.wiring.application import Application

_SHOW = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED}


def needed_runs(application: Application, instance: dg.DagsterInstance) -> Callable[[dg.DagsterRun], bool]:
    """Return what says of a run whether a partition that is still there would be shown differently without it.

    Partitions of an asset that ops-db does not know are all taken to be there: they may be somebody else's.
    """
    with application.cluster.ops_db.read() as session:
        names = _partitions_by_asset(read_snapshot(session))

    def is_needed(run: dg.DagsterRun) -> bool:
        for asset_key, partitions in _told(instance, run).items():
            if None in partitions and _is_newest(instance, asset_key, run):
                return True
            keys = [key for key in partitions if key is not None]
            shown_by = newest_runs(instance, asset_key, keys)
            name = names.get(asset_key)
            for key in keys:
                if run.run_id in shown_by.get(key, ()) and (name is None or instance.has_dynamic_partition(name, key)):
                    return True
        return False

    return is_needed


def _partitions_by_asset(snapshot: Snapshot) -> Mapping[dg.AssetKey, str]:
    return {
        step_key(pipeline.name, step.name): partitions_name(pipeline.grouping, step.group_by)
        for pipeline in snapshot.pipelines
        for step in pipeline.steps
        if step.group_by
    }


def _told(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Mapping[dg.AssetKey, Collection[str | None]]:
    """Return the partitions of each asset that the run materialized or meant to."""
    told: dict[dg.AssetKey, set[str | None]] = defaultdict(set)
    for asset_key, partition in _events(instance, run):
        told[asset_key].add(partition)
    return told


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[tuple[dg.AssetKey, str | None]]:
    for entry in instance.all_logs(run.run_id, of_type=_SHOW):
        event = entry.get_dagster_event()
        if event.asset_key is not None:
            yield event.asset_key, event.partition


def _is_newest(instance: dg.DagsterInstance, asset_key: dg.AssetKey, run: dg.DagsterRun) -> bool:
    newest = instance.get_latest_materialization_event(asset_key)
    return newest is not None and newest.run_id == run.run_id
