"""An overview of each pipeline: its sub-groups by reason, runs in flight, recent failures, and products on disk."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.reason_changes import newest_counts
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import IN_FLIGHT, FailureClass, RunStatus, RunStatusHistory
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.gaps import ReasonCount
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.places import READABLE, DataProductPhysicalCopy
from ccat_models.tables.products import DataProduct
from ccat_models.tables.space import NOT_THERE, RunSpace


@dataclass(frozen=True)
class Failures:
    """The number of runs that failed in one class since a time, and the newest of them."""

    failure: FailureClass
    count: int
    newest: RunId
    message: str


@dataclass
class StepOverview:
    """One step: its sub-groups by reason, its runs in flight, its products on disk, and its purged runs."""

    step: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    products: int = 0
    size_bytes: int = 0
    purged_runs: int = 0


@dataclass(frozen=True)
class Overview:
    """A pipeline and its steps, in the order in which they were created."""

    pipeline: str
    steps: tuple[StepOverview, ...]
    failures: tuple[Failures, ...]


@dataclass(frozen=True)
class Newest:
    """The newest rows on which overviews depend: an overview changes only if one of these values does.

    The newest count of reasons may still change within its minute.
    """

    status: int
    count: int
    counted_at: datetime | None


def newest_change(session: Session) -> Newest:
    """Return the present newest rows, by the ends of two indexes."""
    counted_at = sa.select(ReasonCount.at).order_by(ReasonCount.id.desc()).limit(1)
    newest = (
        sa.select(sa.func.coalesce(sa.func.max(RunStatusHistory.id), 0)),
        sa.select(sa.func.coalesce(sa.func.max(ReasonCount.id), 0)),
        counted_at,
    )
    return Newest(*session.execute(sa.select(*(one.scalar_subquery() for one in newest))).tuples().one())


def read_overviews(session: Session, failed_since: datetime) -> list[Overview]:
    """Return the overview of every pipeline, by name, in a constant number of queries."""
    steps: dict[StepId, StepOverview] = {}
    by_pipeline: dict[str, list[StepOverview]] = defaultdict(list)
    names = sa.select(Pipeline.name, ReductionStep.id, ReductionStep.name).join(ReductionStep)
    for pipeline, step_id, name in session.execute(names.order_by(Pipeline.name, ReductionStep.id)).tuples():
        steps[step_id] = StepOverview(name)
        by_pipeline[pipeline].append(steps[step_id])
    for step_id, reasons in newest_counts(session).items():
        if step_id in steps:
            steps[step_id].reasons = {reason: count for reason, count in reasons.items() if count}
    for step_id, count in session.execute(_in_flight()):
        steps[step_id].in_flight = count
    for step_id, count, size_bytes in session.execute(_on_disk()):
        steps[step_id].products, steps[step_id].size_bytes = count, int(size_bytes)
    for step_id, count in session.execute(_purged()):
        steps[step_id].purged_runs = count
    failures = _failures(session, failed_since)
    return [Overview(name, tuple(found), tuple(failures[name])) for name, found in by_pipeline.items()]


def _in_flight() -> sa.Select[Any]:
    return sa.select(Run.step_id, sa.func.count()).where(Run.status.in_(IN_FLIGHT)).group_by(Run.step_id)


def _on_disk() -> sa.Select[Any]:
    copy = DataProductPhysicalCopy
    readable = sa.select(sa.literal(1)).where(copy.data_product_id == DataProduct.id, copy.status.in_(READABLE))
    return (
        sa.select(Run.step_id, sa.func.count(), sa.func.sum(DataProduct.size_bytes))
        .join(DataProduct, DataProduct.run_id == Run.id)
        .where(readable.correlate(DataProduct).exists())
        .group_by(Run.step_id)
    )


def _purged() -> sa.Select[Any]:
    purged = sa.select(RunSpace.step_id, sa.func.count()).where(RunSpace.state.in_(NOT_THERE))
    return purged.group_by(RunSpace.step_id)


def _failures(session: Session, since: datetime) -> Mapping[str, list[Failures]]:
    classes = (
        sa.select(ReductionStep.pipeline_id, Run.failure_class, sa.func.count().label("count"))
        .add_columns(sa.func.max(Run.id).label("newest"))
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .where(Run.status == RunStatus.FAILED, Run.status_changed_at >= since)
        .group_by(ReductionStep.pipeline_id, Run.failure_class)
        .subquery()
    )
    query = (
        sa.select(Pipeline.name, Run.failure_class, classes.c.count, Run.id, Run.failure_message)
        .select_from(classes)
        .join(Run, Run.id == classes.c.newest)
        .join(Pipeline, Pipeline.id == classes.c.pipeline_id)
        .order_by(classes.c.count.desc(), Run.id.desc())
    )
    found: dict[str, list[Failures]] = defaultdict(list)
    for pipeline, failure, count, newest, message in session.execute(query).tuples():
        if failure is not None:
            found[pipeline].append(Failures(failure, count, newest, message or ""))
    return found
