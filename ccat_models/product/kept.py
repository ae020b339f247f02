"""Why the products of a run may not be removed: the conditions of a purge, and what each of them holds back."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.grouping.portable_sql import LaterBy
from ccat_models.pipeline.view import PipelineView, StepView, list_pipelines
from ccat_models.run.regenerate import Runs, cannot_be_made_again, needed_runs, runs_read
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputProduct
from ccat_models.tables.pipelines import Keep, ReductionStepRevision
from ccat_models.tables.places import READABLE, PhysicalCopyStatus
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import ProductPin, RunSpace, SpaceState

_DAY_SECONDS = 86_400
# Gaps that nothing fills unless somebody mends or asks: what they would read may go, and is made again then.
_STUCK = (Reason.UP_TO_DATE, Reason.RETRIES_EXHAUSTED, Reason.QUALITY_BLOCKED, Reason.DISABLED)


class Cause(enum.Enum):
    """Why products are kept; of several, the first one is told."""

    PINNED = "pinned"
    ALWAYS = "retention always"
    UNTIL_SUPERSEDED = "retention until_superseded, and current"
    DAYS = "retention days, and used since"
    CURRENT = "science or final products that are current"
    ONLY_COPY = "only copy of final products"
    IN_FLIGHT = "read by runs in flight"
    OPEN_GAPS = "read by open gaps"
    NOT_VERIFIED = "not verified"
    NOT_AGAIN = "cannot be made again"


@dataclass(frozen=True)
class Held:
    """How many runs, and bytes of them, one cause keeps; without a cause, how many may go."""

    cause: Cause | None
    runs: int
    size_bytes: int


def held(session: Session, location_id: int, now: datetime) -> list[Held]:
    """Return by cause what is kept at a location, and what may go: every run with something to remove once.

    `sub_group_gap` must stand, in a request's transaction.
    """
    space = RunSpace
    cause = sa.case(*((condition, cause.name) for cause, condition in causes(session, location_id, now).items()))
    rows = (
        sa.select(cause.label("cause"), space.removable_bytes)
        .join(ReductionStepRevision, ReductionStepRevision.id == last_revision())
        .outerjoin(sub_group_gap, same_sub_group())
        .where(space.state == SpaceState.PRESENT, space.data_location_id == location_id, space.removable_bytes > 0)
        .subquery()
    )
    size = sa.cast(sa.func.sum(rows.c.removable_bytes), sa.BigInteger)
    query = sa.select(rows.c.cause, sa.func.count(), size).group_by(rows.c.cause)
    found = {name: (runs, size) for name, runs, size in session.execute(query).tuples()}
    return [
        Held(cause, *found[cause.name if cause else None])
        for cause in (*Cause, None)
        if (cause.name if cause else None) in found
    ]


def causes(session: Session, location_id: int, now: datetime) -> Mapping[Cause, sa.ColumnElement[bool]]:
    """Return why a run of `run_space`, joined with its step's last revision and its gap, is kept."""
    space, step, current = RunSpace, ReductionStepRevision, sub_group_gap.c.current_run_id
    superseded = sa.and_(sub_group_gap.c.step_id.is_not(None), current.is_distinct_from(space.run_id))
    unused = LaterBy(space.last_used_at, step.keep_days * sa.literal(_DAY_SECONDS)) <= now
    pinned = sa.select(ProductPin.run_id).where(ProductPin.unpinned_at.is_(None))
    in_flight = sa.select(Run.id).where(Run.status.in_(IN_FLIGHT))
    being_read = sa.select(RunInputProduct.producer_run_id).where(RunInputProduct.run_id.in_(in_flight))
    read = _read_by_open_gaps(session)
    return {
        Cause.PINNED: space.run_id.in_(pinned),
        Cause.ALWAYS: step.keep == Keep.ALWAYS,
        Cause.UNTIL_SUPERSEDED: sa.and_(step.keep == Keep.UNTIL_SUPERSEDED, sa.not_(superseded)),
        Cause.DAYS: sa.and_(step.keep == Keep.DAYS, sa.not_(unused)),
        Cause.CURRENT: sa.and_(sa.or_(space.has_science, step.final), sa.not_(superseded)),
        Cause.ONLY_COPY: sa.and_(step.final, sa.not_(_is_elsewhere(location_id))),
        Cause.IN_FLIGHT: space.run_id.in_(being_read),
        Cause.OPEN_GAPS: sa.false() if read is None else space.run_id.in_(sa.select(needed_runs(read).c.run_id)),
        Cause.NOT_VERIFIED: _is_not_verified(location_id),
        Cause.NOT_AGAIN: cannot_be_made_again(space.run_id),
    }


def last_revision() -> sa.ScalarSelect[int]:
    """Return the step's last revision: what its pipeline's declaration says now, or said last."""
    revision = aliased(ReductionStepRevision)
    last = sa.select(sa.func.max(revision.id)).where(revision.step_id == RunSpace.step_id)
    return last.correlate(RunSpace).scalar_subquery()


def same_sub_group() -> sa.ColumnElement[bool]:
    """Return whether a gap is that of a run's sub-group."""
    gap = sub_group_gap.c
    return sa.and_(gap.step_id == RunSpace.step_id, gap.sub_group_id == RunSpace.sub_group_id)


def _read_by_open_gaps(session: Session) -> Runs | None:
    """Return the runs whose products gaps that are open, or will be once their upstreams are, would read now."""
    gap, stuck = sub_group_gap.c, [reason.value for reason in _STUCK]
    reads: list[Runs] = []
    for pipeline, step in _steps_with_upstreams(session):
        waits = sa.or_(gap.reason.not_in(stuck), gap.will_run == 1)
        gaps = sa.select(gap.sub_group_id).where(gap.step_id == step.step_id, gap.alive == 1, waits)
        reads.append(runs_read(pipeline, step, gaps, sub_group_gap))
    return sa.union(*(sa.select(read.subquery().c.run_id) for read in reads)) if reads else None


def _steps_with_upstreams(session: Session) -> Iterator[tuple[PipelineView, StepView]]:
    for pipeline in list_pipelines(session):
        yield from ((pipeline, step) for step in pipeline.steps if step.upstream_ids)


def _is_elsewhere(location_id: int) -> sa.ColumnElement[bool]:
    """Return whether each removable product of a run has another copy that can be read."""
    elsewhere = sa.and_(Copy.data_location_id != location_id, Copy.status.in_(READABLE))
    return sa.not_(_lacks_copy(elsewhere))


def _is_not_verified(location_id: int) -> sa.ColumnElement[bool]:
    """Return whether a removable product of a run was not found to be here as it is registered."""
    here = sa.and_(Copy.data_location_id == location_id, Copy.status == PhysicalCopyStatus.PRESENT)
    return _lacks_copy(sa.and_(here, Copy.checksum_verified_at.is_not(None)))


def _lacks_copy(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    copy = sa.select(sa.literal(1)).where(Copy.data_product_id == DataProduct.id, condition)
    without = sa.select(sa.literal(1)).where(
        DataProduct.run_id == RunSpace.run_id,
        DataProduct.type.in_(REMOVABLE_TYPES),
        ~copy.correlate(DataProduct).exists(),
    )
    return without.correlate(RunSpace).exists()
