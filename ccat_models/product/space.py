"""The space that products take up, and what was removed; all sums are computed by the database."""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from ccat_models.tables.base import total
from ccat_models.tables.execution import RunStatusHistory
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.places import DataLocation
from ccat_models.tables.space import NOT_THERE, Purge, RunSpace, SpaceState
from ccat_models.tables.staging import StagingJob, Status


class By(enum.Enum):
    """What sizes are summed by."""

    STEP = "step"
    SUB_GROUP = "sub-group"
    STATE = "state"
    LOCATION = "location"


@dataclass(frozen=True)
class Scope:
    """Whose products are summed; None: all."""

    location_id: int | None = None
    pipeline: str | None = None
    step: str | None = None


@dataclass(frozen=True)
class SpaceRow:
    """The space of the completed runs of a step, sub-group, state or location.

    `removable_bytes` exist and are of types that a purge removes; `gone_bytes` have been removed; `purged_runs` can be
    regenerated.
    """

    location: str | None
    pipeline: str | None
    step: str | None
    sub_group: str | None
    state: SpaceState | None
    runs: int
    purged_runs: int
    size_bytes: int
    removable_bytes: int
    gone_bytes: int


@dataclass(frozen=True)
class PurgeRow:
    """A purge as it is listed."""

    id: int
    location: str
    requested_by: str
    reason: str
    marked_at: datetime
    finished_at: datetime | None
    wanted_bytes: int
    marked_bytes: int
    marked_runs: int
    freed_bytes: int
    freed_runs: int
    problem: str | None


@dataclass(frozen=True)
class Signs:
    """The newest rows on which a location's used space depends: it changes only if one of these values does."""

    status: int
    purge: int
    finished_at: datetime | None
    is_removing: bool
    has_staged: bool


@dataclass(frozen=True)
class PurgePlace:
    """A position in the list of purged runs."""

    finished_at: datetime
    purge_id: int = 0
    run_id: int = 0


@dataclass(frozen=True)
class PurgedRun:
    """A run whose products were purged."""

    place: PurgePlace
    pipeline: str
    step: str
    sub_group: str
    size_bytes: int
    reason: str


_COLUMNS: dict[By, tuple[InstrumentedAttribute[Any], ...]] = {
    By.STEP: (Pipeline.name, ReductionStep.name),
    By.SUB_GROUP: (Pipeline.name, ReductionStep.name, SubGroup.key),
    By.STATE: (RunSpace.state,),
    By.LOCATION: (DataLocation.name,),
}
_NAMED = (DataLocation.name, Pipeline.name, ReductionStep.name, SubGroup.key, RunSpace.state)


def read_space(session: Session, by: By, scope: Scope | None = None, *, limit: int | None = None) -> list[SpaceRow]:
    """Return the space of products by step, sub-group, state or location; at most `limit` rows, the largest first."""
    space, wanted = RunSpace, scope or Scope()
    purged, present = space.state.in_(NOT_THERE), space.state == SpaceState.PRESENT
    size = total(space.size_bytes)
    columns = _COLUMNS[by]
    query = (
        sa.select(*(column if column in columns else sa.null() for column in _NAMED))
        .add_columns(sa.func.count(), sa.func.count(sa.case((purged, 1))), size)
        .add_columns(total(sa.case((present, space.removable_bytes), else_=0)))
        .add_columns(total(space.made_bytes - space.size_bytes))
        .select_from(space)
        .where(*_within(wanted))
        .group_by(*columns)
        .order_by(size.desc(), *columns)
        .limit(limit)
    )
    return [SpaceRow(*row) for row in session.execute(_joined(query, by, wanted)).tuples()]


def list_purges(session: Session, location_id: int | None = None, *, limit: int | None = None) -> list[PurgeRow]:
    """Return the newest `limit` purges, the newest first."""
    columns = [getattr(Purge, name) for name in PurgeRow.__annotations__ if name not in ("id", "location")]
    query = sa.select(Purge.id, DataLocation.name, *columns).join(DataLocation).order_by(Purge.id.desc()).limit(limit)
    if location_id is not None:
        query = query.where(Purge.data_location_id == location_id)
    return [PurgeRow(*row) for row in session.execute(query).tuples()]


def read_signs(session: Session, location_id: int) -> Signs:
    """Return the present signs, by the ends of indexes."""
    marked = sa.select(sa.literal(1)).where(
        RunSpace.state == SpaceState.MARKED, RunSpace.data_location_id == location_id
    )
    staged = sa.select(sa.literal(1)).where(
        StagingJob.target_location_id == location_id, StagingJob.status == Status.COMPLETED
    )
    here = Purge.data_location_id == location_id
    newest = (
        sa.select(sa.func.coalesce(sa.func.max(RunStatusHistory.id), 0)).scalar_subquery(),
        sa.select(sa.func.coalesce(sa.func.max(Purge.id), 0)).where(here).scalar_subquery(),
        sa.select(sa.func.max(Purge.finished_at)).where(here).scalar_subquery(),
        marked.exists(),
        staged.exists(),
    )
    return Signs(*session.execute(sa.select(*newest)).tuples().one())


def purged_since(session: Session, location_id: int, after: PurgePlace, limit: int) -> list[PurgedRun]:
    """Return the next `limit` runs after a position whose products were purged and still are.

    They are in the order in which the purges were finished.
    """
    purge, space = Purge, RunSpace
    same = sa.and_(purge.finished_at == after.finished_at, purge.id == after.purge_id, space.run_id > after.run_id)
    later = sa.and_(purge.finished_at == after.finished_at, purge.id > after.purge_id)
    query = (
        sa.select(purge.finished_at, purge.id, space.run_id, Pipeline.name, ReductionStep.name, SubGroup.key)
        .add_columns(space.removable_bytes, purge.reason)
        .join_from(space, purge, purge.id == space.purge_id)
        .join(ReductionStep, ReductionStep.id == space.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == space.sub_group_id)
        .where(purge.data_location_id == location_id, space.state == SpaceState.PURGED)
        .where(sa.or_(purge.finished_at > after.finished_at, later, same))
        .order_by(purge.finished_at, purge.id, space.run_id)
        .limit(limit)
    )
    return [
        PurgedRun(PurgePlace(finished_at, purge_id, run_id), *rest)
        for finished_at, purge_id, run_id, *rest in session.execute(query)
    ]


def location_name(session: Session, location_id: int) -> str:
    """Return the name of a data location."""
    return session.get_one(DataLocation, location_id).name


def _joined(query: sa.Select[Any], by: By, scope: Scope) -> sa.Select[Any]:
    """Join only the tables that are needed: the sums read a million runs."""
    if by is By.LOCATION:
        query = query.join(DataLocation, DataLocation.id == RunSpace.data_location_id)
    if by is By.SUB_GROUP:
        query = query.join(SubGroup, SubGroup.id == RunSpace.sub_group_id)
    if by in (By.STEP, By.SUB_GROUP) or scope.pipeline is not None:
        query = query.join(ReductionStep, ReductionStep.id == RunSpace.step_id)
        query = query.join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
    return query


def _within(scope: Scope) -> list[sa.ColumnElement[bool]]:
    wanted: dict[InstrumentedAttribute[Any], Any] = {
        RunSpace.data_location_id: scope.location_id,
        Pipeline.name: scope.pipeline,
        ReductionStep.name: scope.step,
    }
    return [column == value for column, value in wanted.items() if value is not None]
