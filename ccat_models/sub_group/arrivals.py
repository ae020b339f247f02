"""Which packages have arrived, by the sub-groups that they are in."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.sub_group.activity import arrived_since
from ccat_models.sub_group.dimensions import OBSERVATIONS
from ccat_models.tables.pipelines import DataGrouping, Partitioning, SubGroup, SubGroupMember
from ccat_models.tables.raw_data import RawDataPackage


@dataclass(frozen=True)
class Arrived:
    """The packages of an observation, by the key of its sub-group; without `key`, those of a whole data grouping."""

    key: str | None
    packages: tuple[RawDataPackage, ...]

    @property
    def version(self) -> str:
        """Return what the packages are, as one short word."""
        lines = sorted(f"{package.name} {package.checksum}" for package in self.packages)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def arrivals(session: Session, grouping: str, since: datetime | None, *, by_observation: bool) -> Iterator[Arrived]:
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
        touched = touched.where(member.sub_group_id.in_(arrived_since(since)))
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
        yield Arrived(key, tuple(package for _, package in packages))


def _arrival() -> sa.ColumnElement[datetime]:
    return sa.func.coalesce(RawDataPackage.archived_at, RawDataPackage.created_at, type_=RawDataPackage.created_at.type)
