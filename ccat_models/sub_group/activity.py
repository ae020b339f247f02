"""Which sub-groups were active lately: a pipeline's partition horizon limits Dagster's partitions to these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.base import SubGroupId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import PackageChange
from ccat_models.tables.pipelines import (
    DataGrouping,
    Partitioning,
    Pipeline,
    PipelineRevision,
    ReductionStep,
    ReductionStepRevision,
    SubGroup,
    SubGroupMember,
)
from ccat_models.tables.raw_data import RawDataPackage

_LATE = timedelta(days=1)  # how long after its time of arrival a package may be registered


@dataclass(frozen=True)
class Marks:
    """The newest rows of ops-db that create a sub-group or make it active: every such event raises one of these values.

    Sub-groups and runs are created by one requester at a time (`OpsDb.request`), so a smaller id is never committed
    after a larger one. `change` is the newest change of packages that the memberships do not reflect yet.
    """

    sub_group: int
    run: int
    package: int
    archived: datetime | None
    change: int | None

    def is_before(self, other: "Marks") -> bool:
        """Say whether these marks are older than the others, as after a restore of the database from a backup."""
        return self.sub_group < other.sub_group or self.run < other.run or self.package < other.package


@dataclass(frozen=True)
class Sight:
    """A partitioning, and the time since which a sub-group must have been active to be in sight.

    `since` None: all sub-groups are in sight.
    """

    partitioning_id: int
    grouping: str
    group_by: tuple[str, ...]
    since: datetime | None


def read_marks(session: Session) -> Marks:
    """Return the present marks, by one query that reads the ends of five indexes."""
    package = RawDataPackage
    query = sa.select(
        sa.select(sa.func.coalesce(sa.func.max(SubGroup.id), 0)).scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.max(Run.id), 0)).scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.max(package.id), 0)).scalar_subquery(),
        sa.select(sa.func.max(package.archived_at)).scalar_subquery(),
        sa.select(sa.func.max(PackageChange.id)).scalar_subquery(),
    )
    return Marks(*session.execute(query).tuples().one())


def sights(session: Session, now: datetime) -> Sequence[Sight]:
    """Return the partitionings with dimensions, each with the widest partition horizon of the pipelines that use it."""
    is_current = sa.and_(PipelineRevision.pipeline_id == Pipeline.id, PipelineRevision.number == Pipeline.revision)
    days = PipelineRevision.partition_horizon_days
    widest = (
        sa.select(
            ReductionStep.partitioning_id,
            sa.case((sa.func.count() == sa.func.count(days), sa.func.max(days))).label("days"),
        )
        .join(ReductionStepRevision, ReductionStepRevision.step_id == ReductionStep.id)
        .join(PipelineRevision, PipelineRevision.id == ReductionStepRevision.pipeline_revision_id)
        .join(Pipeline, is_current)
        .group_by(ReductionStep.partitioning_id)
        .subquery()
    )
    query = (
        sa.select(Partitioning.id, DataGrouping.name, Partitioning.group_by, widest.c.days)
        .join(DataGrouping, DataGrouping.id == Partitioning.data_grouping_id)
        .outerjoin(widest, widest.c.partitioning_id == Partitioning.id)
        .where(Partitioning.group_by != "")
        .order_by(Partitioning.id)
    )
    return [
        Sight(number, grouping, tuple(group_by.split("+")), None if far is None else now - timedelta(days=far))
        for number, grouping, group_by, far in session.execute(query).tuples()
    ]


def in_sight(session: Session, sight: Sight) -> Iterable[str]:
    """Return the keys of the sub-groups in sight, the oldest first."""
    keys = _keys(sight)
    if sight.since is None:
        return session.scalars(keys)
    runs = sa.select(Run.sub_group_id).where(Run.created_at >= sight.since)
    arrived = SubGroup.id.in_(_arrived(sight, sight.since))
    return session.scalars(keys.where(sa.or_(SubGroup.created_at >= sight.since, arrived, SubGroup.id.in_(runs))))


def come_into_sight(session: Session, sight: Sight, after: Marks) -> Iterable[str]:
    """Return the keys of the sub-groups that may have come into sight after these marks, by indexes alone."""
    new = SubGroup.id > after.sub_group
    if sight.since is None:
        return session.scalars(_keys(sight).where(new))
    since = sight.since if after.archived is None else max(sight.since, after.archived - _LATE)
    runs = sa.select(Run.sub_group_id).where(Run.id > after.run)
    near = sa.or_(new, SubGroup.id.in_(_arrived(sight, since)), SubGroup.id.in_(runs))
    return session.scalars(_keys(sight).where(near))


def arrived_since(since: datetime) -> sa.Select[tuple[SubGroupId]]:
    """Return the sub-groups that packages have arrived in since then, as a query."""
    package = RawDataPackage  # uses the index of archived_at; a coalesce would read every package
    arrived = sa.or_(package.archived_at >= since, sa.and_(package.archived_at.is_(None), package.created_at >= since))
    return (
        sa.select(SubGroupMember.sub_group_id)
        .join(package, package.id == SubGroupMember.raw_data_package_id)
        .where(arrived)
    )


def _keys(sight: Sight) -> sa.Select[tuple[str]]:
    return sa.select(SubGroup.key).where(SubGroup.partitioning_id == sight.partitioning_id).order_by(SubGroup.id)


def _arrived(sight: Sight, since: datetime) -> sa.Select[tuple[SubGroupId]]:
    return arrived_since(since).where(SubGroupMember.partitioning_id == sight.partitioning_id)
