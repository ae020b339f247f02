"""What Dagster 1.13 has no public interface for: planned events for partitions, the newest event of each, an error.

A Dagster run has one partition key, or a contiguous range of them. For a run with any other list of keys, Dagit shows
the partitions as in progress, and those without products as failed, only if their planned events are reported here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent  # noqa: TID251 - see above

STORAGE_CONFLICT = sa.exc.IntegrityError  # what a storage of Dagster raises where another process was faster
_MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION
_PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED


def report_planned(
    instance: dg.DagsterInstance, run: dg.DagsterRun, op: str, asset_key: dg.AssetKey, keys: Iterable[str]
) -> None:
    """Report that a run intends to materialize these partitions."""
    for key in keys:
        planned = AssetMaterializationPlannedData(asset_key, partition=key)
        event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, op, planned)
        instance.report_dagster_event(event, run.run_id)


def newest_runs(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: Collection[str]
) -> dict[str, set[str]]:
    """Return, by partition, the ids of the Dagster runs that determine how Dagit shows it.

    These are the run that materialized it last, and the one that planned to do so after that.
    """
    if not partitions:
        return {}
    storage, shown = instance.event_log_storage, defaultdict[str, set[str]](set)
    done = storage.get_latest_storage_id_by_partition(asset_key, _MATERIALIZED, set(partitions))
    planned = storage.get_latest_storage_id_by_partition(asset_key, _PLANNED, set(partitions))
    planned = {key: number for key, number in planned.items() if number > done.get(key, 0)}
    for kind, numbers in ((_MATERIALIZED, done), (_PLANNED, planned)):
        if not numbers:
            continue
        found = storage.get_event_records(dg.EventRecordsFilter(kind, asset_key, storage_ids=list(numbers.values())))
        runs = {record.storage_id: record.run_id for record in found}
        for key, number in numbers.items():
            shown[key].add(runs[number])
    return shown
