"""Runs that have ended and are not published yet."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from ccat_assets.dagit.batch import Ended
from ccat_assets.dagit.failures import why_failed
from ccat_assets.dagit.metadata import RUN_TAG
from ccat_assets.dagit.names import StepName
from ccat_models.lineage.run_report import read_reports
from ccat_models.run.unpublished import unpublished_endings
from ccat_models.tables.execution import RunStatus
from resources.ops_db import Session

_CLOCKS_DIFFER = timedelta(minutes=10)  # at most, between the hosts that write to ops-db and Dagster's
_PAGE = 200


def read_unpublished(
    session: Session, instance: dg.DagsterInstance, name: StepName, keys: Sequence[str], now: datetime
) -> Ended:
    """Return what is still to be published of these sub-groups.

    A process may have died after publishing a run and before recording that: such a run is not published again. A
    failure is published only if no later run of its sub-group has ended.
    """
    found = unpublished_endings(session, now, name.step_id, keys)
    reports = list(read_reports(session, list(found)).values())
    known = _known(instance, name, keys, min((r.run.status_changed_at for r in reports), default=now))
    completed = [r for r in reports if r.run.status is RunStatus.COMPLETED and str(r.run.id) not in known]
    failures = [r for r in reports if r.run.status is RunStatus.FAILED and not found[r.run.id]]
    return Ended(name, completed, {r.key: why_failed(r) for r in failures}, failures, list(found))


def _known(instance: dg.DagsterInstance, name: StepName, keys: Sequence[str], since: datetime) -> set[str]:
    """Return the ids of the runs in ops-db of which Dagster has materializations."""
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
