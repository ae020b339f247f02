"""Raw data as assets, so that lineage in Dagit begins at the archive."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.description import describe_raw
from ccat_assets.dagit.metadata import table
from ccat_assets.dagit.names import RAW, raw_key
from ccat_assets.dagit.partitions import OBSERVATIONS, Partitions
from ccat_assets.dagit.snapshot import Snapshot, read_snapshot
from ccat_models.chunks import chunks
from ccat_models.clock import Clock, system_clock
from ccat_models.sub_group.activity import sights
from ccat_models.tables.base import SubGroupId
from ccat_models.tables.pipelines import DataGrouping, Partitioning, SubGroup, SubGroupMember
from ccat_models.tables.raw_data import RawDataPackage

_PACKAGES_SHOWN = 50
_CHUNK = 200
_VERSION_TAG = "dagster/data_version"
_ARRIVED = "arrived"
_LATE = timedelta(days=1)  # how much later than its time of arrival a package may become known


@dataclass(frozen=True)
class _Arrived:
    """The packages of one partition of a raw data asset; `key` is None where the asset has no partitions."""

    key: str | None
    packages: tuple[RawDataPackage, ...]

    @property
    def version(self) -> str:
        """Return what the packages are, as one short word."""
        lines = sorted(f"{package.name} {package.checksum}" for package in self.packages)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def raw_assets(snapshot: Snapshot, partitions: Partitions) -> list[dg.AssetSpec]:
    """Return one external asset a data grouping, its partitions being the executed observation units."""
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
    """Tell Dagster of archived packages, one event a partition, and return how many were told.

    Memberships must be up to date. What has arrived is told in the order of its arrival, so that Dagster's newest
    event says where to go on; with `everything`, for packages that were withdrawn, all partitions are looked at.
    An event carries a version of its packages, and what the newest one of its partition tells already is not told
    again: this may be repeated, or die, at any time. Partitions out of sight are passed over. Where the budget was
    spent, more may be to be told.
    """
    snapshot = read_snapshot(session)
    partitions = Partitions(snapshot)
    horizons = {(sight.grouping, sight.group_by): sight.since for sight in sights(session, clock())}
    told, limit = 0, budget or Budget()
    for grouping in snapshot.groupings:
        key = raw_key(grouping.name)
        by_observation = partitions.of_raw(grouping.name) is not None
        begin = None if everything else _told_until(instance, key)
        horizon = horizons.get((grouping.name, OBSERVATIONS)) if by_observation else None
        since = max(filter(None, (begin, horizon)), default=None)
        told += _observe(instance, key, _arrived(session, grouping.name, since, by_observation=by_observation), limit)
    return told


def _observe(instance: dg.DagsterInstance, asset_key: dg.AssetKey, arrived: Iterable[_Arrived], limit: Budget) -> int:
    told = 0
    for chunk in chunks(arrived, _CHUNK):
        known = _known_versions(instance, asset_key, [one.key for one in chunk])
        for one in chunk:
            if known.get(one.key) != one.version:
                if told and limit.spent:  # at least one: whatever has to be read again, each call comes further
                    return told
                instance.report_runless_asset_event(_arrival_shown(asset_key, one))
                told += 1
    return told


def _told_until(instance: dg.DagsterInstance, asset_key: dg.AssetKey) -> datetime | None:
    newest = instance.fetch_materializations(asset_key, limit=1).records
    event = newest[0].asset_materialization if newest else None
    arrived = None if event is None else event.metadata.get(_ARRIVED)
    if not isinstance(arrived, dg.TimestampMetadataValue):
        return None
    return datetime.fromtimestamp(arrived.value, UTC) - _LATE


def _arrived(session: Session, grouping: str, since: datetime | None, *, by_observation: bool) -> Iterator[_Arrived]:
    """Yield the grouping's packages by partition, the earliest first; every cut of a grouping holds all of them."""
    cut = (
        sa.select(sa.func.min(Partitioning.id))
        .join(DataGrouping, DataGrouping.id == Partitioning.data_grouping_id)
        .where(DataGrouping.name == grouping)
    )
    if by_observation:
        cut = cut.where(Partitioning.group_by == OBSERVATIONS[0])
    member = SubGroupMember
    newest = sa.func.max(_arrival()).label("newest")
    touched = (
        sa.select(member.sub_group_id, newest)
        .join(RawDataPackage, RawDataPackage.id == member.raw_data_package_id)
        .where(member.partitioning_id == cut.scalar_subquery())
        .group_by(member.sub_group_id)
    )
    if since is not None:
        touched = touched.where(member.sub_group_id.in_(_touched_since(since)))
    places = touched.subquery("places")
    order = (places.c.newest, places.c.sub_group_id) if by_observation else ()
    query = (
        sa.select(SubGroup.key, RawDataPackage)
        .join(places, places.c.sub_group_id == SubGroup.id)
        .join(member, member.sub_group_id == SubGroup.id)
        .join(RawDataPackage, RawDataPackage.id == member.raw_data_package_id)
        .order_by(*order, RawDataPackage.name)
        .execution_options(yield_per=1000)
    )
    rows = session.execute(query).tuples()
    for key, packages in groupby(rows, lambda row: row[0] if by_observation else None):
        yield _Arrived(key, tuple(package for _, package in packages))


def _arrival() -> sa.ColumnElement[datetime]:
    return sa.func.coalesce(RawDataPackage.archived_at, RawDataPackage.created_at, type_=RawDataPackage.created_at.type)


def _touched_since(since: datetime) -> sa.Select[tuple[SubGroupId]]:
    package = RawDataPackage  # by the index of archived_at: a coalesce would look at every package
    arrived = sa.or_(package.archived_at >= since, sa.and_(package.archived_at.is_(None), package.created_at >= since))
    return (
        sa.select(SubGroupMember.sub_group_id)
        .join(package, package.id == SubGroupMember.raw_data_package_id)
        .where(arrived)
    )


def _known_versions(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, keys: Sequence[str | None]
) -> Mapping[str | None, str]:
    """Return by partition the version that its newest event tells."""
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


def _arrival_shown(asset_key: dg.AssetKey, arrived: _Arrived) -> dg.AssetMaterialization:
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
