"""Runs that have ended and are not published yet."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.run.cancel import FORGOTTEN_AFTER
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import IN_FLIGHT, RunStatus, RunWaiter
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroup

WAITER_PREFIX = "dagster:"  # of the waiters that publish what they waited for themselves
_PUBLISHED_STATUSES = (RunStatus.COMPLETED, RunStatus.FAILED)
_MORE_MAY_END = timedelta(seconds=20)
_ENOUGH = 100  # what one Dagster run shows


def steps_due(session: Session, now: datetime) -> Mapping[StepId, datetime]:
    """Return the steps that have enough to publish, and since when the first of it waits, in one query.

    One Dagster run publishes many runs: while a step has runs in flight, publishing waits up to 20 s for more to end.
    """
    other = aliased(Run)
    oldest = sa.func.min(Run.status_changed_at, type_=Run.status_changed_at.type)
    in_flight = sa.select(other.id).where(other.step_id == Run.step_id, other.status.in_(IN_FLIGHT)).exists()
    query = (
        sa.select(Run.step_id, oldest)
        .where(_unpublished(now))
        .group_by(Run.step_id)
        .having(sa.or_(oldest <= now - _MORE_MAY_END, sa.func.count() >= _ENOUGH, sa.not_(in_flight)))
    )
    return dict(session.execute(query).tuples().all())


def unpublished_keys(
    session: Session, now: datetime, steps: Collection[StepId] | None = None
) -> Sequence[tuple[StepId, str]]:
    """Return the sub-groups with something to publish, those of the oldest runs first; of all steps for None."""
    query = (
        sa.select(Run.step_id, SubGroup.key)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(_unpublished(now), sa.true() if steps is None else Run.step_id.in_(steps))
        .group_by(Run.step_id, SubGroup.key)
        .order_by(sa.func.min(Run.id))
    )
    return session.execute(query).tuples().all()


def unpublished_endings(session: Session, now: datetime, step_id: int, keys: Sequence[str]) -> dict[RunId, bool]:
    """Return the unpublished runs of a step's sub-groups, the oldest first, and whether a later run has ended since."""
    query = (
        sa.select(Run.id, _superseded())
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(_unpublished(now), Run.step_id == step_id, SubGroup.key.in_(keys))
        .order_by(Run.id)
    )
    return dict(session.execute(query).tuples().all())


def unpublished_failures(session: Session, now: datetime, step_id: int, keys: Sequence[str]) -> Sequence[str]:
    """Return those of a step's sub-groups whose newest run failed and is not published, the oldest run first."""
    query = (
        sa.select(SubGroup.key)
        .join(Run, Run.sub_group_id == SubGroup.id)
        .where(_unpublished(now), Run.step_id == step_id, SubGroup.key.in_(keys))
        .where(Run.status == RunStatus.FAILED, sa.not_(_superseded()))
        .order_by(Run.id)
    )
    return session.scalars(query).all()


def unpublished_runs(session: Session, now: datetime, step_id: int, keys: Sequence[str]) -> set[RunId]:
    """Return the unpublished runs of a step's sub-groups."""
    query = sa.select(Run.id).join(SubGroup, SubGroup.id == Run.sub_group_id)
    return set(session.scalars(query.where(_unpublished(now), Run.step_id == step_id, SubGroup.key.in_(keys))))


def mark_published(session: Session, run_ids: Collection[RunId], now: datetime) -> None:
    """Record that these runs are published."""
    session.execute(
        sa.update(Run)
        .where(Run.id.in_(run_ids), Run.published_at.is_(None))
        .values(published_at=now)
        .execution_options(synchronize_session=False)
    )


def _superseded() -> sa.ColumnElement[bool]:
    """Say which runs are followed by another run of their step and sub-group that has ended."""
    newer = aliased(Run)
    same = (newer.step_id == Run.step_id, newer.sub_group_id == Run.sub_group_id)
    return sa.select(newer.id).where(*same, newer.status.in_(_PUBLISHED_STATUSES), newer.id > Run.id).exists()


def _unpublished(now: datetime) -> sa.ColumnElement[bool]:
    """Say which runs are to be published; not those that a Dagster run waits for, as it publishes them itself."""
    waiting = (
        sa.select(RunWaiter.run_id)
        .where(
            RunWaiter.run_id == Run.id,
            RunWaiter.waiter.startswith(WAITER_PREFIX),
            RunWaiter.seen_at > now - FORGOTTEN_AFTER,
        )
        .exists()
    )
    return sa.and_(Run.published_at.is_(None), Run.is_result, Run.status.in_(_PUBLISHED_STATUSES), sa.not_(waiting))
