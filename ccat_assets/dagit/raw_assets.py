"""Raw data as assets, so that lineage in Dagit begins at the archive."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.description import describe_raw
from ccat_assets.dagit.metadata import table
from ccat_assets.dagit.names import RAW, raw_key
from ccat_assets.dagit.partitions import Partitions
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_models.chunks import chunks
from ccat_models.clock import Clock, system_clock
from ccat_models.sub_group.activity import sights
from ccat_models.sub_group.arrivals import Arrived, arrivals
from ccat_models.sub_group.dimensions import OBSERVATIONS
from resources.ops_db import Session

_PACKAGES_SHOWN = 50
_CHUNK = 200
_VERSION_TAG = "dagster/data_version"
_ARRIVED = "arrived"
_LATE = timedelta(days=1)  # how much later than its time of arrival a package may become known


def raw_assets(snapshot: Snapshot, partitions: Partitions) -> list[dg.AssetSpec]:
    """Return one external asset for each data grouping; its partitions are the executed observation units."""
    return [
        dg.AssetSpec(
            key=raw_key(grouping.name),
            description=describe_raw(grouping),
            group_name=RAW,
            kinds={"archive"},
            partitions_def=partitions.of_raw(grouping.name),
        )
        for grouping in snapshot.groupings
    ]


def publish_raw(
    instance: dg.DagsterInstance,
    session: Session,
    *,
    everything: bool = False,
    clock: Clock = system_clock,
    budget: Budget | None = None,
) -> int:
    """Publish archived packages, one event for each partition; return how many events.

    Memberships must be up to date. Partitions are published in the order in which packages arrived, so Dagster's newest
    event says where to continue. With `everything` all partitions are compared, which also finds withdrawn packages. An
    event has a version of its packages, and a partition whose newest event has the same version is not published again:
    this may be repeated, or die, at any time. Partitions beyond the horizon are left out. Where the budget was spent,
    some events may be missing.
    """
    snapshot = read_snapshot(session)
    partitions = Partitions(snapshot)
    horizons = {(sight.grouping, sight.group_by): sight.since for sight in sights(session, clock())}
    count, limit = 0, budget or Budget()
    for grouping in snapshot.groupings:
        key = raw_key(grouping.name)
        by_observation = partitions.of_raw(grouping.name) is not None
        begin = None if everything else _published_until(instance, key)
        horizon = horizons.get((grouping.name, OBSERVATIONS)) if by_observation else None
        since = max(filter(None, (begin, horizon)), default=None)
        arrived = arrivals(session, grouping.name, since, by_observation=by_observation)
        count += _publish_new(instance, key, arrived, limit)
    return count


def _publish_new(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, arrived: Iterable[Arrived], limit: Budget
) -> int:
    count = 0
    for chunk in chunks(arrived, _CHUNK):
        known = _known_versions(instance, asset_key, [one.key for one in chunk])
        for one in chunk:
            if known.get(one.key) != one.version:
                if count and limit.spent:  # each call publishes at least one, and so makes progress
                    return count
                instance.report_runless_asset_event(_arrival_event(asset_key, one))
                count += 1
    return count


def _published_until(instance: dg.DagsterInstance, asset_key: dg.AssetKey) -> datetime | None:
    newest = instance.fetch_materializations(asset_key, limit=1).records
    event = newest[0].asset_materialization if newest else None
    arrived = None if event is None else event.metadata.get(_ARRIVED)
    if not isinstance(arrived, dg.TimestampMetadataValue):
        return None
    return datetime.fromtimestamp(arrived.value, UTC) - _LATE


def _known_versions(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, keys: Sequence[str | None]
) -> Mapping[str | None, str]:
    """Return, by partition, the version in its newest event."""
    partitions = [key for key in keys if key is not None]
    wanted = dg.AssetRecordsFilter(asset_key, asset_partitions=partitions or None)
    versions: dict[str | None, str] = {}
    cursor, more = None, True
    while more and len(versions) < len(keys):
        page = instance.fetch_materializations(wanted, limit=_CHUNK, cursor=cursor)
        for event in (record.asset_materialization for record in page.records):
            if event is not None:
                versions.setdefault(event.partition, (event.tags or {}).get(_VERSION_TAG, ""))
        cursor, more = page.cursor, page.has_more
    return versions


def _arrival_event(asset_key: dg.AssetKey, arrived: Arrived) -> dg.AssetMaterialization:
    packages = arrived.packages
    rows = [(package.name, package.size_bytes, package.checksum) for package in packages[:_PACKAGES_SHOWN]]
    newest = max(package.archived_at or package.created_at for package in packages)
    return dg.AssetMaterialization(
        asset_key=asset_key,
        partition=arrived.key,
        tags={_VERSION_TAG: arrived.version},
        metadata={
            "packages": table({"package": "string", "size_bytes": "int", "checksum": "string"}, rows),
            "package_count": dg.MetadataValue.int(len(packages)),
            "size_bytes": dg.MetadataValue.int(sum(package.size_bytes for package in packages)),
            _ARRIVED: dg.MetadataValue.timestamp(newest),
        },
    )
