from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel

from ccat_models.clock import Clock
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 60
RUNS_PER_TICK = 50
_REST = timedelta(hours=1)  # once no more runs are old enough
_ROUND = timedelta(days=7)  # after it, the runs that were kept are examined again
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

Needed = Callable[[dg.DagsterInstance], Callable[[dg.DagsterRun], bool]]


class Cursor(BaseModel):
    """The sensor's cursor: the last run it examined, when this round began, and until when it rests."""

    after: str | None = None
    begun_at: datetime
    rests_until: datetime


def retention_sensor(days: int, needed: Needed, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that deletes Dagster runs that ended more than `days` days ago; none for 0 days.

    Dagster deletes a run's events with it, so `needed` names the runs to keep: those whose events Dagit shows a
    partition by now. A run that was kept is examined again after a week. Resting, the sensor reads only its cursor.
    """

    @dg.sensor(
        name="retention",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Deletes Dagster's runs after {days} days, except those that partitions are shown by.",
    )
    def retention(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock()
        if not days:
            return dg.SkipReason("runs are never deleted")
        cursor = read_cursor(context.cursor, Cursor(begun_at=now, rests_until=now))
        if now < cursor.rests_until:
            return dg.SkipReason(f"rests until {cursor.rests_until:%Y-%m-%d %H:%M} UTC")
        instance = context.instance
        if cursor.after is not None and not instance.has_run(cursor.after):
            cursor.after = None  # Dagster finds no runs after one that was deleted
        old = dg.RunsFilter(statuses=list(_ENDED), updated_before=now - timedelta(days=days))
        runs = [record.dagster_run for record in instance.get_run_records(old, RUNS_PER_TICK, None, True, cursor.after)]
        kept = _delete(instance, runs, needed)
        cursor.after = kept[-1] if kept else cursor.after
        if len(runs) < RUNS_PER_TICK:
            cursor.rests_until = now + _REST
            if now - cursor.begun_at >= _ROUND:
                cursor.after, cursor.begun_at = None, now
        context.update_cursor(cursor.model_dump_json())
        return dg.SkipReason(f"{len(runs) - len(kept)} runs deleted, {len(kept)} kept")

    return retention


def _delete(instance: dg.DagsterInstance, runs: list[dg.DagsterRun], needed: Needed) -> list[str]:
    """Delete the runs that are not needed, the oldest first; return the ids of those that are kept."""
    is_needed = needed(instance) if runs else None
    kept = []
    for run in runs:
        if is_needed is not None and is_needed(run):
            kept.append(run.run_id)
        else:
            instance.delete_run(run.run_id)
    return kept
