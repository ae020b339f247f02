"""Attempts that reproduce completed runs: added by the process that compares, sent and observed by the executor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.run.work import is_waited_for
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, AttemptState, Purpose, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep

# Longer than a tick that waits for a remote back end: during a tick the waiting process cannot renew its record.
FORGOTTEN_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Reproducing:
    """A run that is to be executed again, and the key, directory and resources of the attempt for it."""

    run_id: RunId
    submission_key: str
    directory: str
    resources: dict[str, Any]


@dataclass(frozen=True)
class Lapsed:
    """An attempt that reproduces a run, whose process has stopped waiting without removing the files."""

    id: AttemptId
    directory: str
    has_ended: bool


def add_reproductions(
    session: Session, reproducing: Sequence[Reproducing], backend: str, now: datetime
) -> dict[RunId, AttemptId]:
    """Add an attempt for each of the runs that has completed; it is not sent before `laid_out` is called for it.

    Attempts that reproduce have negative numbers, each lower than the run's earlier ones.
    """
    run_ids = [one.run_id for one in reproducing]
    completed = sa.select(Run.id).where(Run.id.in_(run_ids), Run.status == RunStatus.COMPLETED)
    locked = set(session.scalars(completed.order_by(Run.id).with_for_update()))  # so that calls take different numbers
    lowest = sa.select(Attempt.run_id, sa.func.min(Attempt.number)).where(Attempt.run_id.in_(run_ids))
    numbers = dict(session.execute(lowest.group_by(Attempt.run_id)).tuples().all())
    rows = [
        {
            "run_id": one.run_id,
            "number": min(numbers[one.run_id], 0) - 1,
            "submission_key": one.submission_key,
            "state": AttemptState.INTENDED,
            "backend": backend,
            "directory": one.directory,
            "created_at": now,
            "resources": one.resources,
            "purpose": Purpose.REPRODUCE,
            "wanted_until": now + FORGOTTEN_AFTER,
        }
        for one in reproducing
        if one.run_id in locked
    ]
    if not rows:
        return {}
    session.execute(sa.insert(Attempt), rows)
    keys = [row["submission_key"] for row in rows]
    found = session.execute(sa.select(Attempt.run_id, Attempt.id).where(Attempt.submission_key.in_(keys)))
    return dict(found.tuples().all())


def laid_out(session: Session, jobs: Mapping[AttemptId, tuple[str, Sequence[str]]]) -> None:
    """Record runtime and command of attempts whose directories are laid out: they may now be sent."""
    for attempt, (runtime, command) in jobs.items():
        intended = (Attempt.id == attempt, Attempt.state == AttemptState.INTENDED)
        session.execute(sa.update(Attempt).where(*intended).values(runtime=runtime, command=list(command)))


def commands(session: Session, attempts: Collection[AttemptId]) -> dict[AttemptId, tuple[str, list[str]]]:
    """Return runtime and command of those attempts that are laid out."""
    query = sa.select(Attempt.id, Attempt.runtime, Attempt.command).where(Attempt.id.in_(attempts))
    return {
        attempt: (runtime, command)
        for attempt, runtime, command in session.execute(query).tuples()
        if runtime is not None and command is not None
    }


def want(session: Session, attempts: Collection[AttemptId], now: datetime) -> None:
    """Record that a process still waits for these attempts, or handles their files."""
    _until(session, attempts, now + FORGOTTEN_AFTER)


def give_up(session: Session, attempts: Collection[AttemptId], now: datetime) -> None:
    """Record that no process waits for these attempts any more: the executor cancels them.

    It also removes their files `FORGOTTEN_AFTER` later, unless `seen_to` was called for them.
    """
    _until(session, attempts, now)


def seen_to(session: Session, attempts: Collection[AttemptId]) -> None:
    """Record of those of these attempts that have ended that the executor need not remove their files."""
    _until(session, attempts, None, Attempt.state == AttemptState.ENDED)


def ended(session: Session, attempts: Collection[AttemptId]) -> list[Attempt]:
    """Return those of these attempts that have ended."""
    found: list[Attempt] = []
    for some in chunks(attempts):
        found += session.scalars(sa.select(Attempt).where(Attempt.id.in_(some), Attempt.state == AttemptState.ENDED))
    return found


def running(session: Session, attempts: Collection[AttemptId]) -> int:
    """Return how many of these attempts run."""
    query = sa.select(sa.func.count()).select_from(Attempt).where(Attempt.state == AttemptState.RUNNING)
    return sum(session.scalar(query.where(Attempt.id.in_(some))) or 0 for some in chunks(attempts))


def lapsed(session: Session, location_id: int, now: datetime) -> Sequence[Lapsed]:
    """Return the attempts of a processing location whose processes have stopped waiting and left files behind."""
    query = (
        sa.select(Attempt.id, Attempt.directory, Attempt.state)
        .join(Run, Run.id == Attempt.run_id)
        .where(*is_waited_for(location_id), Attempt.wanted_until <= now - FORGOTTEN_AFTER)
        .order_by(Attempt.id)
    )
    return [Lapsed(id_, path or "", state is AttemptState.ENDED) for id_, path, state in session.execute(query)]


def processed_elsewhere(session: Session, run_ids: Collection[RunId], location_id: int) -> dict[RunId, str]:
    """Return those of the runs whose pipeline another processing location executes, each with the pipeline's name."""
    query = (
        sa.select(Run.id, Pipeline.name)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .where(Run.id.in_(run_ids), Pipeline.processing_location_id != location_id)
    )
    return dict(session.execute(query).tuples().all())


def _until(
    session: Session, attempts: Collection[AttemptId], until: datetime | None, *conditions: sa.ColumnElement[bool]
) -> None:
    for some in chunks(attempts):
        waited_for = (Attempt.id.in_(some), Attempt.wanted_until.is_not(None), *conditions)
        statement = sa.update(Attempt).where(*waited_for).values(wanted_until=until)
        session.execute(statement.execution_options(synchronize_session=False))
