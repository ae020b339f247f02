"""Which Dagster runs must be kept: those that determine how Dagit shows a partition."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

import dagster as dg

from ccat_assets.dagit.dagster_private import newest_runs
from ccat_assets.dagit.names import step_key
from ccat_assets.dagit.partitions import partitions_name
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_assets.wiring.application import Application

_EVENTS = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED}


def needed_runs(application: Application, instance: dg.DagsterInstance) -> Callable[[dg.DagsterRun], bool]:
    """Return a function that says whether Dagit would show an existing partition differently without a Dagster run.

    Assets that ops-db does not know may belong to another code location: all their partitions count as existing.
    """
    with application.cluster.ops_db.read() as session:
        names = _partitions_by_asset(read_snapshot(session))

    def is_needed(run: dg.DagsterRun) -> bool:
        for asset_key, partitions in _partitions_of(instance, run).items():
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


def _partitions_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Mapping[dg.AssetKey, Collection[str | None]]:
    """Return, by asset, the partitions that the run materialized or planned to."""
    found: dict[dg.AssetKey, set[str | None]] = defaultdict(set)
    for asset_key, partition in _events(instance, run):
        found[asset_key].add(partition)
    return found


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[tuple[dg.AssetKey, str | None]]:
    for entry in instance.all_logs(run.run_id, of_type=_EVENTS):
        event = entry.get_dagster_event()
        if event.asset_key is not None:
            yield event.asset_key, event.partition


def _is_newest(instance: dg.DagsterInstance, asset_key: dg.AssetKey, run: dg.DagsterRun) -> bool:
    newest = instance.get_latest_materialization_event(asset_key)
    return newest is not None and newest.run_id == run.run_id
