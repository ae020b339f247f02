"""What ops-db knows and Dagster does not: runs that have ended and were not shown."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_assets.dagit.batch import WAITER_PREFIX, Ended, why_failed
from ccat_assets.dagit.metadata import RUN_TAG
from ccat_assets.dagit.names import StepName
from ccat_assets.dagit.run_report import read_reports
from ccat_models.run.cancel import FORGOTTEN_AFTER
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import IN_FLIGHT, RunStatus, RunWaiter
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroup

PUBLISHED_STATUSES = (RunStatus.COMPLETED, RunStatus.FAILED)
_CLOCKS_DIFFER = timedelta(minutes=10)  # at most: between ops-db's requesters and Dagster's host
_PAGE = 200
_MORE_MAY_END = timedelta(seconds=20)
_ENOUGH = 100  # what one Dagster run shows


def steps_due(session: Session, now: datetime) -> Mapping[StepId, datetime]:
    """Return the steps that have enough to show, and since when the first of it waits, in one query.

    Of a burst, a Dagster run shows many: as long as a step has runs in flight, a moment is waited for more to end.
    """
    other = aliased(Run)
    oldest = sa.func.min(Run.status_changed_at, type_=Run.status_changed_at.type)
    on_their_way = sa.select(other.id).where(other.step_id == Run.step_id, other.status.in_(IN_FLIGHT)).exists()
    query = (
        sa.select(Run.step_id, oldest)
        .where(_unpublished(now))
        .group_by(Run.step_id)
        .having(sa.or_(oldest <= now - _MORE_MAY_END, sa.func.count() >= _ENOUGH, sa.not_(on_their_way)))
    )
    return dict(session.execute(query).tuples().all())


def unpublished_keys(
    session: Session, now: datetime, steps: Collection[StepId] | None = None
) -> Mapping[StepId, list[str]]:
    """Return by step, of all or of some, the sub-groups that have something to show, those of the oldest runs first."""
    query = (
        sa.select(Run.step_id, SubGroup.key)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(_unpublished(now), sa.true() if steps is None else Run.step_id.in_(steps))
        .group_by(Run.step_id, SubGroup.key)
        .order_by(sa.func.min(Run.id))
    )
    return keys_by_step(session.execute(query).tuples())


def keys_by_step(found: Iterable[tuple[StepId, str]]) -> Mapping[StepId, list[str]]:
    """Return pairs of step and sub-group as the sub-groups of each step."""
    keys: dict[StepId, list[str]] = defaultdict(list)
    for step_id, key in found:
        keys[step_id].append(key)
    return keys


def read_unpublished(
    session: Session, instance: dg.DagsterInstance, name: StepName, keys: Sequence[str], now: datetime
) -> Ended:
    """Return what Dagster is still to be told of these sub-groups.

    Of a run whose materialization Dagster has already, because whoever told it died right after, nothing is told again;
    a failure counts only where nothing has ended after it.
    """
    newer = aliased(Run)
    same = (newer.step_id == Run.step_id, newer.sub_group_id == Run.sub_group_id)
    superseded = sa.select(newer.id).where(*same, newer.status.in_(PUBLISHED_STATUSES), newer.id > Run.id).exists()
    query = (
        sa.select(Run.id, superseded)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(_unpublished(now), Run.step_id == name.step_id, SubGroup.key.in_(keys))
        .order_by(Run.id)
    )
    found = dict(session.execute(query).tuples().all())
    reports = list(read_reports(session, list(found)).values())
    known = _known(instance, name, keys, min((r.run.status_changed_at for r in reports), default=now))
    completed = [r for r in reports if r.run.status is RunStatus.COMPLETED and str(r.run.id) not in known]
    failed = {r.key: why_failed(r) for r in reports if r.run.status is RunStatus.FAILED and not found[r.run.id]}
    return Ended(completed, failed, list(found))


def unpublished_runs(session: Session, now: datetime, step_id: int, keys: Sequence[str]) -> set[RunId]:
    """Return the runs of these sub-groups that Dagster does not know."""
    query = sa.select(Run.id).join(SubGroup, SubGroup.id == Run.sub_group_id)
    return set(session.scalars(query.where(_unpublished(now), Run.step_id == step_id, SubGroup.key.in_(keys))))


def _unpublished(now: datetime) -> sa.ColumnElement[bool]:
    """Pass over what a Dagster run waits for: it will tell Dagster itself."""
    waiting = (
        sa.select(RunWaiter.run_id)
        .where(
            RunWaiter.run_id == Run.id,
            RunWaiter.waiter.startswith(WAITER_PREFIX),
            RunWaiter.seen_at > now - FORGOTTEN_AFTER,
        )
        .exists()
    )
    return sa.and_(Run.published_at.is_(None), Run.is_result, Run.status.in_(PUBLISHED_STATUSES), sa.not_(waiting))


def _known(instance: dg.DagsterInstance, name: StepName, keys: Sequence[str], since: datetime) -> set[str]:
    """Return the ops-db runs that Dagster has materializations of."""
    known: set[str] = set()
    wanted = dg.AssetRecordsFilter(
        name.asset_key, asset_partitions=keys, after_timestamp=(since - _CLOCKS_DIFFER).timestamp()
    )
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(wanted, limit=_PAGE, cursor=cursor)
        events = [record.asset_materialization for record in page.records]
        known |= {(event.tags or {}).get(RUN_TAG, "") for event in events if event is not None}
        cursor, more = page.cursor, page.has_more
    return known
