"""The cost of runs, estimated from completed runs: core-hours, wall time and bytes written."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.answer import StepCounts
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import Attempt, AttemptState, Purpose, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from ccat_models.tables.products import DataProduct

_NEWEST = 1000  # number of runs for a mean
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class Estimate:
    """The mean cost of one run of a step, and what it is estimated from; `written_bytes` is None if it is unknown."""

    core_seconds: float
    wall_seconds: float
    written_bytes: float | None
    basis: str


@dataclass(frozen=True)
class StepCost:
    """The cost of a step's future runs.

    At most `cap` of them (None: all) are in flight at a time; `capped_by` is step, pipeline or location.
    """

    runs: int
    core_hours: float
    wall_seconds: float
    written_bytes: float | None
    cap: int | None
    capped_by: str | None
    basis: str
    written_basis: str


@dataclass(frozen=True)
class Cost:
    """The cost of all future runs; the wall time is that of the longest path over the steps.

    `written_bytes` is the sum over the steps for which it is known; `unknown_bytes` names the others.
    """

    steps: Mapping[str, StepCost]
    runs: int
    core_hours: float
    wall_seconds: float
    longest_path: tuple[str, ...]
    written_bytes: float
    unknown_bytes: tuple[str, ...]


def estimates(session: Session, pipeline: PipelineView) -> dict[StepId, Estimate]:
    """Return an estimate for each step: from its own runs, its software's runs, or its declared resources."""
    own = _measured(session, {step.step_id: Run.step_id == step.step_id for step in pipeline.steps})
    others = [step for step in pipeline.steps if step.step_id not in own]
    same = _measured(session, {step.step_id: Run.software_version_id.in_(_versions(step)) for step in others})
    found = {}
    for step in pipeline.steps:
        if step.step_id in own:
            found[step.step_id] = _of_history(own[step.step_id], "")
        elif step.step_id in same:
            found[step.step_id] = _of_history(same[step.step_id], f" of other steps with software {step.software_name}")
        else:
            found[step.step_id] = _declared(step)
    return found


def cost(
    pipeline: PipelineView,
    counts: Mapping[StepId, StepCounts],
    estimated: Mapping[StepId, Estimate],
    capacity: int | None,
) -> Cost:
    """Return the cost of the runs wanted now and afterwards; `capacity` is the location's limit, None for no limit."""
    steps: dict[str, StepCost] = {}
    ends: dict[StepId, tuple[float, tuple[str, ...]]] = {}
    for step in pipeline.steps:
        count = counts.get(step.step_id)
        runs = 0 if count is None else count.now + count.afterwards
        own = _step_cost(runs, estimated[step.step_id], _cap(step, pipeline, capacity))
        steps[step.name] = own
        begin, path = max((ends[upstream] for upstream in step.upstream_ids), default=(0.0, ()))
        ends[step.step_id] = (begin + own.wall_seconds, (*path, step.name) if runs else path)
    wall_seconds, longest = max(ends.values(), default=(0.0, ()))
    return Cost(
        steps=steps,
        runs=sum(one.runs for one in steps.values()),
        core_hours=sum(one.core_hours for one in steps.values()),
        wall_seconds=wall_seconds,
        longest_path=longest,
        written_bytes=sum(one.written_bytes or 0.0 for one in steps.values()),
        unknown_bytes=tuple(name for name, one in steps.items() if one.runs and one.written_bytes is None),
    )


def newest_runs(which: sa.ColumnElement[bool], limit: int) -> sa.Select[tuple[RunId]]:
    """Return a query for the newest `limit` completed runs that meet a condition."""
    return (
        sa.select(Run.id)
        .where(which, Run.status == RunStatus.COMPLETED, Run.is_result)
        .order_by(Run.id.desc())
        .limit(limit)
    )


def _measured(
    session: Session, whose: Mapping[StepId, sa.ColumnElement[bool]]
) -> dict[StepId, sa.Row[tuple[int, int, float, float, float]]]:
    """Return, for each step, the number of measured runs and their means, in one query."""
    if not whose:
        return {}
    query = sa.union_all(*(_means(step_id, runs) for step_id, runs in whose.items()))
    return {row.step_id: row for row in session.execute(query) if row.runs}


def _means(step_id: StepId, which: sa.ColumnElement[bool]) -> sa.Select[tuple[int, int, float, float, float]]:
    last = newest_runs(which, _NEWEST).subquery("last_runs")
    written = (
        sa.select(sa.func.coalesce(sa.func.sum(DataProduct.size_bytes), 0))
        .where(DataProduct.run_id == last.c.id)
        .scalar_subquery()
    )
    cpus = sa.func.coalesce(Attempt.resources["cpus"].as_integer(), 1)
    measures = (
        sa.select(
            Attempt.wall_seconds.label("wall"),
            (Attempt.wall_seconds * cpus).label("cores"),
            written.label("written"),
        )
        .join(last, last.c.id == Attempt.run_id)
        .where(Attempt.state == AttemptState.ENDED, Attempt.failure_class.is_(None), Attempt.wall_seconds.is_not(None))
        .where(Attempt.purpose == Purpose.EXECUTE)
        .subquery("measures")
    )
    return sa.select(
        sa.literal(step_id, sa.BigInteger).label("step_id"),
        sa.func.count().label("runs"),
        sa.func.avg(measures.c.wall).label("wall"),
        sa.func.avg(measures.c.cores).label("cores"),
        sa.func.avg(measures.c.written).label("written"),
    ).select_from(measures)


def _versions(step: StepView) -> sa.Select[tuple[int]]:
    version = ReductionSoftwareVersion
    return sa.select(version.id).where(version.software_id == step.software_id)


def _of_history(means: sa.Row[tuple[int, int, float, float, float]], whose: str) -> Estimate:
    basis = f"from {means.runs} run{'' if means.runs == 1 else 's'}{whose}"
    return Estimate(float(means.cores), float(means.wall), float(means.written), basis)


def _declared(step: StepView) -> Estimate:
    wall_seconds = step.resources.time_hours * _HOUR_SECONDS
    return Estimate(wall_seconds * step.resources.cpus, wall_seconds, None, "declared resources, no history")


def _cap(step: StepView, pipeline: PipelineView, capacity: int | None) -> tuple[int | None, str | None]:
    """Return how many runs of the step may be in flight, and what limits it; a location allows at least one."""
    free = None if capacity is None else max(capacity, 1)
    caps: Iterable[tuple[int | None, str]] = (
        (step.max_in_flight, "step"),
        (pipeline.max_in_flight, "pipeline"),
        (free, "location"),
    )
    return min(((cap, who) for cap, who in caps if cap is not None), key=lambda one: one[0], default=(None, None))


def _step_cost(runs: int, each: Estimate, capped: tuple[int | None, str | None]) -> StepCost:
    cap, capped_by = capped
    rounds = math.ceil(runs / cap) if cap else min(runs, 1)
    return StepCost(
        runs=runs,
        core_hours=runs * each.core_seconds / _HOUR_SECONDS,
        wall_seconds=rounds * each.wall_seconds,
        written_bytes=None if each.written_bytes is None else runs * each.written_bytes,
        cap=cap,
        capped_by=capped_by,
        basis=each.basis,
        written_basis="unknown, no history" if each.written_bytes is None else each.basis,
    )
