"""What is published about space: an asset for each processing location, numbers on each step, and purged runs."""

from collections.abc import Iterator

import dagster as dg

from ccat_assets.dagit.metadata import table
from ccat_assets.dagit.names import space_key, step_key
from ccat_assets.dagit.snapshot import Snapshot
from ccat_assets.sizes import size_text
from ccat_models.product.kept import Held, by_cause
from ccat_models.product.space import PurgedRun, SpaceRow
from ccat_models.tables.space import SpaceState
from sensors.space import SpaceNow

_DESCRIPTION = (
    "The space that products and staged raw data take at **{name}**, what a purge would free, and why the rest is "
    "kept: see `ccat space`."
)


def space_assets(snapshot: Snapshot) -> list[dg.AssetSpec]:
    """Return one asset for each processing location; only the sensor `space` materializes it."""
    return [
        dg.AssetSpec(
            key=space_key(name),
            description=_DESCRIPTION.format(name=name),
            group_name="space",
            kinds={"dashboard"},
        )
        for name in snapshot.locations
    ]


def purged_event(run: PurgedRun) -> dg.AssetObservation:
    """Return the event that publishes on a sub-group that its products were purged."""
    key = step_key(run.pipeline, run.step)
    return dg.AssetObservation(
        asset_key=key,
        partition=run.sub_group,
        description=f"purged: {run.reason}; regenerated when a run needs it, or by `ccat regenerate`",
        metadata={
            "state": SpaceState.PURGED.value,
            "purged_bytes": dg.MetadataValue.int(run.size_bytes),
            "purge": dg.MetadataValue.int(run.place.purge_id),
            "run_id": dg.MetadataValue.int(run.place.run_id),
        },
    )


def space_events(now: SpaceNow) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """Yield the events that publish how much space is used now, at the location and by each step."""
    may_go = {(one.pipeline, one.step): one.held for one in now.held if one.held.cause is None}
    nothing = Held(None, 0, 0)
    yield _location_event(now)
    for row in now.steps:
        yield _step_event(row, may_go.get((row.pipeline or "", row.step or ""), nothing))


def _location_event(now: SpaceNow) -> dg.AssetMaterialization:
    held, used = by_cause(now.held), now.usage
    numbers = {
        "used_bytes": used.used_bytes,
        "limit_bytes": used.limit_bytes,
        "products_bytes": sum(row.size_bytes for row in now.steps),
        "staged_bytes": now.staged.size_bytes,
        "removable_bytes": sum(one.size_bytes for one in held if one.cause is None),
        "purged_runs": sum(row.purged_runs for row in now.steps),
        "gone_bytes": sum(row.gone_bytes for row in now.steps),
    }
    rows = [(one.cause.value if one.cause else "may go", one.runs, size_text(one.size_bytes)) for one in held]
    return dg.AssetMaterialization(
        asset_key=space_key(now.location),
        description="the space that is used now",
        metadata={
            **{name: dg.MetadataValue.int(number) for name, number in numbers.items()},
            "kept": table({"cause": "string", "runs": "int", "size": "string"}, rows),
        },
    )


def _step_event(row: SpaceRow, may_go: Held) -> dg.AssetObservation:
    numbers = {
        "size_bytes": row.size_bytes,
        "runs": row.runs,
        "purged_runs": row.purged_runs,
        "purge_would_free_bytes": may_go.size_bytes,
        "purge_would_remove_runs": may_go.runs,
    }
    return dg.AssetObservation(
        asset_key=step_key(row.pipeline or "", row.step or ""),
        description="the space that its products take",
        metadata={name: dg.MetadataValue.int(number) for name, number in numbers.items()},
    )
