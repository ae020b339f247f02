"""What Dagster 1.13 does not offer in public: planned events for chosen partitions of a run.

A run has one partition key, or a contiguous range of them. A run for an arbitrary list of keys is shown in progress,
and its missing keys as failed, only if their planned events are reported by hand.
"""

from collections.abc import Iterable

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent  # noqa: TID251 - see above


def report_planned(
    instance: dg.DagsterInstance, run: dg.DagsterRun, op: str, asset_key: dg.AssetKey, keys: Iterable[str]
) -> None:
    """Say that a run intends to materialize these partitions."""
    for key in keys:
        planned = AssetMaterializationPlannedData(asset_key, partition=key)
        event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, op, planned)
        instance.report_dagster_event(event, run.run_id)
