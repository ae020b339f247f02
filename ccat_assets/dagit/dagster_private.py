"""What Dagster 1.13 has no public interface for.

That is: planned events for partitions, the newest event of each, what a backfill is for, whether a code server loads
the definitions, which schedules are switched off, an error of a storage.

A Dagster run has one partition key, or a contiguous range of them. For a run with any other list of keys, Dagit shows
the partitions as in progress, and those without products as failed, only if their planned events are reported here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.definitions_load_context import (  # noqa: TID251 - see above
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.run_request import InstigatorType  # noqa: TID251 - see above
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent  # noqa: TID251 - see above
from dagster._core.scheduler.instigation import InstigatorStatus  # noqa: TID251 - see above

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


def keeps_state() -> bool:
    """Say whether the program that loads definitions now, a code server or one of its runs, keeps a component's state.

    Where none does, as in `dagster asset list` or plain Python, a StateBackedComponent raises KeyError.
    """
    if not DefinitionsLoadContext.is_set():
        return False
    context = DefinitionsLoadContext.get()
    return context.load_type is DefinitionsLoadType.INITIALIZATION or bool(context.reconstruction_metadata)


def is_code_server() -> bool:
    """Say whether the program that loads definitions now is a code server, and not one of its runs."""
    if not DefinitionsLoadContext.is_set():
        return False
    return DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION


def stopped_schedules(instance: dg.DagsterInstance) -> Collection[str]:
    """Return the names of the schedules that a user has switched off; none of an instance in memory."""
    if instance.schedule_storage is None:
        return ()
    found = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.STOPPED}
    )
    return {state.instigator_name for state in found}


def backfill_targets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Mapping[dg.AssetKey, Sequence[str]]:
    """Return the partitions, by asset, that the backfill of a run is for; nothing for a run of no backfill."""
    backfill_id = run.tags.get("dagster/backfill")
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    if backfill is None or backfill.asset_backfill_data is None:
        return {}
    subsets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key
    return {key: sorted(subset.get_partition_keys()) for key, subset in subsets.items()}


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
