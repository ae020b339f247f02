from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel, ValidationError

from ccat_models.clock import Clock

INTERVAL_SECONDS = 60
RUNS_PER_TICK = 50
_REST = timedelta(hours=1)  # where nothing more is old enough
_ROUND = timedelta(days=7)  # what was kept is looked at again
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

Needed = Callable[[dg.DagsterInstance], Callable[[dg.DagsterRun], bool]]


class Place(BaseModel):
    """The sensor's cursor: behind which run it goes on, since when this round lasts, until when it rests."""

    after: str | None = None
    begun_at: datetime
    rests_until: datetime


def retention_sensor(days: int, needed: Needed, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that deletes Dagster runs which ended more than so many days ago; none for 0 days.

    Dagster deletes a run's events with it, so runs are kept that hold what Dagit shows of a partition now. A run that
    was kept is not looked at again before a week is over. Resting, it looks at its cursor alone.
    """

    @dg.sensor(
        name="retention",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Deletes Dagster's runs after {days} days, but none that partitions are shown by.",
    )
    def retention(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = clock()
        if not days:
            return dg.SkipReason("runs are kept for good")
        place = _place(context.cursor, now)
        if now < place.rests_until:
            return dg.SkipReason(f"rests until {place.rests_until:%Y-%m-%d %H:%M} UTC")
        instance = context.instance
        if place.after is not None and not instance.has_run(place.after):
            place.after = None  # Dagster would find nothing behind a run that somebody deleted
        old = dg.RunsFilter(statuses=list(_ENDED), updated_before=now - timedelta(days=days))
        runs = [record.dagster_run for record in instance.get_run_records(old, RUNS_PER_TICK, None, True, place.after)]
        kept = _delete(instance, runs, needed)
        place.after = kept[-1] if kept else place.after
        if len(runs) < RUNS_PER_TICK:
            place.rests_until = now + _REST
            if now - place.begun_at >= _ROUND:
                place.after, place.begun_at = None, now
        context.update_cursor(place.model_dump_json())
        return dg.SkipReason(f"{len(runs) - len(kept)} runs deleted, {len(kept)} kept")

    return retention


def _delete(instance: dg.DagsterInstance, runs: list[dg.DagsterRun], needed: Needed) -> list[str]:
    """Delete what is not needed, the oldest first, and return what is."""
    is_needed = needed(instance) if runs else None
    kept = []
    for run in runs:
        if is_needed is not None and is_needed(run):
            kept.append(run.run_id)
        else:
            instance.delete_run(run.run_id)
    return kept


def _place(cursor: str | None, now: datetime) -> Place:
    try:
        return Place(begun_at=now, rests_until=now) if cursor is None else Place.model_validate_json(cursor)
    except ValidationError:
        return Place(begun_at=now, rests_until=now)
