from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.tables.base import RunId, StepId, SubGroupId, number_in
from ccat_models.tables.execution import (
    IN_FLIGHT,
    Attempt,
    AttemptState,
    FailureClass,
    Purpose,
    RunStatus,
    RunStatusHistory,
)
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import (
    Pipeline,
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStep,
    SubGroup,
)

_NEAR = 5  # known numbers to list in a message


@dataclass(frozen=True)
class RunRow:
    """A run as it is listed, with the state of its attempts; its inputs and products are not read."""

    id: RunId
    pipeline: str
    step: str
    sub_group: str
    status: RunStatus
    reason: str
    software: str
    version: str
    requested_by: str
    created_at: datetime
    status_changed_at: datetime
    failure_class: FailureClass | None
    failure_message: str | None
    attempts: int
    waits: str | None  # the back end's reason why the attempt is not accepted, or its job does not start


def list_runs(
    session: Session,
    *,
    pipeline: str | None = None,
    step: str | None = None,
    sub_group: str | None = None,
    status: RunStatus | None = None,
    run_id: RunId | None = None,
    limit: int | None = None,
) -> list[RunRow]:
    """Return the newest `limit` runs that match all given values, the newest first."""
    executing = sa.and_(Attempt.run_id == Run.id, Attempt.purpose == Purpose.EXECUTE)
    attempts = sa.select(sa.func.count()).where(executing).correlate(Run).scalar_subquery()
    current = sa.and_(executing, Attempt.state.in_((AttemptState.SENDING, AttemptState.SENT)))
    waits = sa.select(sa.func.max(Attempt.evidence["waits"].as_string())).where(current).correlate(Run)
    query = (
        sa.select(Run.id, Pipeline.name, ReductionStep.name, SubGroup.key, Run.status, Run.reason)
        .add_columns(ReductionSoftware.name, ReductionSoftwareVersion.version, Run.requested_by, Run.created_at)
        .add_columns(Run.status_changed_at, Run.failure_class, Run.failure_message, attempts)
        .add_columns(waits.scalar_subquery())
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .join(ReductionSoftwareVersion, ReductionSoftwareVersion.id == Run.software_version_id)
        .join(ReductionSoftware, ReductionSoftware.id == ReductionSoftwareVersion.software_id)
        .order_by(Run.id.desc())
        .limit(limit)
    )
    wanted = {
        Pipeline.name: pipeline,
        ReductionStep.name: step,
        SubGroup.key: sub_group,
        Run.status: status,
        Run.id: run_id,
    }
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    return [RunRow(*row) for row in session.execute(query).tuples()]


def sub_groups_of(session: Session, run_ids: Collection[RunId]) -> Sequence[tuple[RunId, StepId, str]]:
    """Return of these runs, the oldest first, the step and the key of the sub-group."""
    query = sa.select(Run.id, Run.step_id, SubGroup.key).join(SubGroup, SubGroup.id == Run.sub_group_id)
    return session.execute(query.where(Run.id.in_(run_ids)).order_by(Run.id)).tuples().all()


def statuses_of(session: Session, run_ids: Collection[RunId]) -> dict[RunId, RunStatus]:
    """Return how far runs, of which there may be any number, have come."""
    statuses: dict[RunId, RunStatus] = {}
    for chunk in chunks(run_ids):
        found = session.execute(sa.select(Run.id, Run.status).where(Run.id.in_(chunk)))
        statuses.update(found.tuples().all())
    return statuses


def runs_in_flight(session: Session, *, unchanged_since: datetime | None = None) -> int:
    """Return how many runs are in flight, or how many of them have not changed since then."""
    flying = sa.select(sa.func.count()).select_from(Run).where(Run.status.in_(IN_FLIGHT))
    if unchanged_since is not None:
        flying = flying.where(Run.status_changed_at < unchanged_since)
    return session.scalar(flying) or 0


def count_in_flight(session: Session, pipeline: str) -> Mapping[str, Mapping[str, int]]:
    """Return how many runs of a pipeline are in flight, by step and status."""
    query = (
        sa.select(ReductionStep.name, Run.status, sa.func.count())
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(ReductionStep.pipeline)
        .where(Pipeline.name == pipeline, Run.status.in_(IN_FLIGHT))
        .group_by(ReductionStep.id, ReductionStep.name, Run.status)
        .order_by(ReductionStep.id, Run.status)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for step, status, count in session.execute(query):
        found[step][status.value] = count
    return dict(found)


def sub_group_of(session: Session, run_id: RunId) -> SubGroupId:
    """Return the sub-group that a run is of."""
    return session.get_one(Run, run_id).sub_group_id


def find_run(session: Session, text: str) -> RunId:
    """Return the run with this number; raise NotFound with the newest runs, InvalidDeclaration for no number."""
    if not text.isdecimal():
        raise InvalidDeclaration(f"run:{text}: a run is known by its number, as `ccat runs` shows it")
    number = number_in(text)
    found = None if number is None else session.scalar(sa.select(Run.id).where(Run.id == number))
    if found is None:
        newest = session.scalars(sa.select(Run.id).order_by(Run.id.desc()).limit(_NEAR))
        raise NotFound("run", text, [str(one) for one in newest])
    return found


def history_of(session: Session, run_id: RunId) -> list[tuple[str | None, str, datetime]]:
    """Return a run's changes of status in order: from, to, when."""
    query = (
        sa.select(RunStatusHistory.from_status, RunStatusHistory.to_status, RunStatusHistory.at)
        .where(RunStatusHistory.run_id == run_id)
        .order_by(RunStatusHistory.id)
    )
    return list(session.execute(query).tuples().all())
