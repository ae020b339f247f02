"""Why products may not be removed: the conditions of a purge, and what each of them keeps."""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.grouping.portable_sql import LaterBy
from ccat_models.pipeline.view import PipelineView, StepView, last_revisions, list_pipelines
from ccat_models.run.made_of import cannot_regenerate_now
from ccat_models.run.regenerate import Runs, needed_runs, runs_read
from ccat_models.tables.base import total
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputProduct
from ccat_models.tables.pipelines import Keep, Pipeline, ReductionStep, ReductionStepRevision
from ccat_models.tables.places import READABLE, PhysicalCopyStatus
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import ProductPin, RunSpace, SpaceState

_DAY_SECONDS = 86_400
# Gaps that are filled only after a correction or request: their inputs may be purged, and are regenerated then.
_STUCK = (Reason.UP_TO_DATE, Reason.RETRIES_EXHAUSTED, Reason.QUALITY_BLOCKED, Reason.DISABLED)


class Cause(enum.Enum):
    """Why products are kept; of several causes, the first is reported."""

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
    """The number of runs, and of their bytes, that one cause keeps; without a cause, those that may be removed."""

    cause: Cause | None
    runs: int
    size_bytes: int


@dataclass(frozen=True)
class StepHeld:
    """What one cause keeps of a step's products."""

    pipeline: str
    step: str
    held: Held


def held(session: Session, location_id: int, now: datetime) -> list[StepHeld]:
    """Return what is kept at a location, by step and cause, and what may be removed; each run counts once.

    It must be called in a request's transaction in which `look` has updated `sub_group_gap`.
    """
    cause = sa.case(*((condition, cause.name) for cause, condition in causes(session, location_id, now).items()))
    rows = (
        sa.select(cause.label("cause"), RunSpace.step_id, RunSpace.removable_bytes)
        .join(ReductionStepRevision, ReductionStepRevision.step_id == RunSpace.step_id)
        .where(ReductionStepRevision.id.in_(last_revisions()), *present(location_id))
        .subquery()
    )
    sums = (
        sa.select(rows.c.step_id, rows.c.cause, sa.func.count().label("runs"))
        .add_columns(total(rows.c.removable_bytes).label("size"))
        .group_by(rows.c.step_id, rows.c.cause)
        .subquery()
    )
    query = (
        sa.select(Pipeline.name, ReductionStep.name, sums.c.cause, sums.c.runs, sums.c.size)
        .join(ReductionStep, ReductionStep.pipeline_id == Pipeline.id)
        .join(sums, sums.c.step_id == ReductionStep.id)
        .order_by(Pipeline.name, ReductionStep.id, sums.c.cause)
    )
    return [
        StepHeld(pipeline, step, Held(None if name is None else Cause[name], runs, size))
        for pipeline, step, name, runs, size in session.execute(query).tuples()
    ]


def by_cause(held: Iterable[StepHeld]) -> list[Held]:
    """Return what each cause keeps in all steps together, and last, without a cause, what may be removed."""
    runs, sizes = Counter[Cause | None](), Counter[Cause | None]()
    for one in held:
        runs[one.held.cause] += one.held.runs
        sizes[one.held.cause] += one.held.size_bytes
    return [Held(cause, runs[cause], sizes[cause]) for cause in (*Cause, None) if runs[cause]]


def causes(session: Session, location_id: int, now: datetime) -> Mapping[Cause, sa.ColumnElement[bool]]:
    """Return the condition of each cause; a query must join `run_space` with its step's last revision."""
    space, step, superseded = RunSpace, ReductionStepRevision, _is_superseded()
    unused = LaterBy(space.last_used_at, step.keep_days * sa.literal(_DAY_SECONDS)) <= now
    pinned = sa.select(ProductPin.run_id).where(ProductPin.unpinned_at.is_(None), ProductPin.run_id == space.run_id)
    being_read = (
        sa.select(RunInputProduct.run_id)
        .join(Run, Run.id == RunInputProduct.run_id)
        .where(Run.status.in_(IN_FLIGHT), RunInputProduct.producer_run_id == space.run_id)
    )
    here = present(location_id)
    not_again = cannot_regenerate_now(sa.select(space.run_id).where(*here))
    return {
        Cause.PINNED: pinned.correlate(space).exists(),
        Cause.ALWAYS: step.keep == Keep.ALWAYS,
        Cause.UNTIL_SUPERSEDED: sa.and_(step.keep == Keep.UNTIL_SUPERSEDED, sa.not_(superseded)),
        Cause.DAYS: sa.and_(step.keep == Keep.DAYS, sa.not_(unused)),
        Cause.CURRENT: sa.and_(sa.or_(space.has_science, step.final), sa.not_(superseded)),
        Cause.ONLY_COPY: sa.and_(step.final, sa.not_(_is_elsewhere(location_id))),
        Cause.IN_FLIGHT: being_read.correlate(space).exists(),
        Cause.OPEN_GAPS: _is_read_by_open_gaps(session),
        Cause.NOT_VERIFIED: _is_not_verified(location_id),
        Cause.NOT_AGAIN: space.run_id.in_(not_again),
    }


def present(location_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that a run has products at a location which a purge could remove."""
    space = RunSpace
    return space.state == SpaceState.PRESENT, space.data_location_id == location_id, space.removable_bytes > 0


def _is_superseded() -> sa.ColumnElement[bool]:
    """Return the condition that a run is not the current one of its sub-group."""
    gap = sub_group_gap.c
    here = (gap.step_id == RunSpace.step_id, gap.sub_group_id == RunSpace.sub_group_id)
    other = sa.select(sa.literal(1)).where(*here, gap.current_run_id.is_distinct_from(RunSpace.run_id))
    return other.correlate(RunSpace).exists()


def _is_read_by_open_gaps(session: Session) -> sa.ColumnElement[bool]:
    read = _read_by_open_gaps(session)
    if read is None:
        return sa.false()
    needed = needed_runs(read)
    return sa.select(needed.c.run_id).where(needed.c.run_id == RunSpace.run_id).correlate(RunSpace).exists()


def _read_by_open_gaps(session: Session) -> Runs | None:
    """Return the runs whose products would be read by gaps that are open, or will be once their upstreams have run."""
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
    """Return the condition that each removable product of a run has another readable copy."""
    elsewhere = sa.and_(Copy.data_location_id != location_id, Copy.status.in_(READABLE))
    return sa.not_(_lacks_copy(elsewhere))


def _is_not_verified(location_id: int) -> sa.ColumnElement[bool]:
    """Return the condition that a removable product of a run has no verified copy here."""
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
