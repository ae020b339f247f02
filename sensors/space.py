from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from pydantic import BaseModel

from ccat_models.clock import Clock
from ccat_models.product.kept import StepHeld
from ccat_models.product.space import (
    By,
    PurgedRun,
    PurgePlace,
    Scope,
    Signs,
    SpaceRow,
    location_name,
    purged_since,
    read_signs,
    read_space,
)
from ccat_models.raw.staging import Staged, read_staged
from resources.errors import TransientError
from resources.location import Cluster
from resources.raw.let_go import let_go_or_log
from resources.space.plan import kept_by_step
from resources.space.purging import finish
from resources.space.room import Usage, make_room, usage
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 60
PURGED_PER_TICK = 200  # sub-groups
NUMBERS_EVERY = timedelta(minutes=10)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=2), timedelta(hours=1)  # choosing what to purge takes seconds
NEWS_FOR = timedelta(days=1)  # without a cursor, older purges are not published


@dataclass(frozen=True)
class SpaceNow:
    """What the space of a location is used for."""

    location: str
    usage: Usage
    staged: Staged
    steps: Sequence[SpaceRow]
    held: Sequence[StepHeld]


@dataclass(frozen=True)
class Describe:
    """The events to publish: of a run whose products were purged, and of the space that is used."""

    purged: Callable[[PurgedRun], dg.AssetObservation]
    used: Callable[[SpaceNow], Iterator[dg.AssetMaterialization | dg.AssetObservation]]


class Pause(BaseModel):
    """Until when no purge is tried, because the last one could remove nothing, and how long that is."""

    until: datetime
    length: timedelta

    @staticmethod
    def after(last: "Pause | None", now: datetime) -> "Pause":
        """Return the next pause, twice as long as the last one."""
        length = FIRST_PAUSE if last is None else min(2 * last.length, LONGEST_PAUSE)
        return Pause(until=now + length, length=length)


class Cursor(BaseModel):
    """The sensor's cursor.

    `signs` are those at the last publishing, `place` is the last purged run that was published, `at` is when the
    numbers were published last, and `pause` is the pause between two tries to purge.
    """

    signs: Signs | None = None
    place: PurgePlace | None = None
    at: datetime | None = None
    pause: Pause | None = None


def space_sensor(cluster: Callable[[], Cluster], describe: Describe, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that keeps space free at this processing location, and publishes what was removed.

    It finishes purges that were interrupted, lets go of staged raw data that no run needs, and purges products while
    more is used than the high watermark; where nothing may be purged, it tries that less and less often. Idle, and
    without a watermark, it reads once. It may be killed at any time, and run beside another.
    """

    @dg.sensor(
        name="space",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Purges products above the high watermark, and publishes how much space is used.",
    )
    def space(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        cursor, here = read_cursor(context.cursor, Cursor()), cluster()
        try:
            freed, pause = _make_room(here, cursor.pause, clock())
            paused = cursor.model_copy(update={"pause": pause})
            published = _publish(context.instance, here, paused, describe, clock())
        except TransientError as error:
            return dg.SkipReason(f"the processing location does not answer: {error}")
        if (published or paused) != cursor:
            context.update_cursor((published or paused).model_dump_json())
        if freed:
            return dg.SkipReason(f"{freed} bytes were freed")
        return dg.SkipReason("nothing has changed" if published is None else "the used space was published")

    return space


def _make_room(cluster: Cluster, pause: Pause | None, now: datetime) -> tuple[int, Pause | None]:
    """Remove what may be removed; return how many bytes that freed, and the pause if a purge could remove nothing."""
    with cluster.ops_db.read() as session:
        signs = read_signs(session, cluster.location_id)
    freed = finish(cluster).freed_bytes if signs.is_removing else 0
    freed += let_go_or_log(cluster) if signs.has_staged else 0
    above = 0 if cluster.watermarks.high is None else usage(cluster).above_high
    if not above:
        return freed, None
    if pause is not None and now < pause.until:
        return freed, pause
    made = make_room(cluster, above, by="daemon", reason="high watermark").freed_bytes
    return freed + made, None if made else Pause.after(pause, now)


def _publish(
    instance: dg.DagsterInstance, cluster: Cluster, cursor: Cursor, describe: Describe, now: datetime
) -> Cursor | None:
    """Publish what is new, as much as a tick has time for; return the moved cursor, None where nothing was new."""
    with cluster.ops_db.read() as session:
        signs = read_signs(session, cluster.location_id)
        if signs == cursor.signs:
            return None
        place = cursor.place or PurgePlace(now - NEWS_FOR)
        purged = purged_since(session, cluster.location_id, place, PURGED_PER_TICK)
    is_due = cursor.at is None or now - cursor.at >= NUMBERS_EVERY
    found = _now(cluster) if is_due else None  # before anything is published: the location may not answer
    for run in purged:
        instance.report_runless_asset_event(describe.purged(run))
    place = purged[-1].place if purged else place
    if found is None:
        return cursor.model_copy(update={"place": place}) if purged else None
    for event in describe.used(found):
        instance.report_runless_asset_event(event)
    seen = cursor.signs if len(purged) == PURGED_PER_TICK else signs
    return cursor.model_copy(update={"signs": seen, "place": place, "at": now})


def _now(cluster: Cluster) -> SpaceNow:
    used, held = usage(cluster), kept_by_step(cluster)
    with cluster.ops_db.read() as session:
        name, staged = location_name(session, cluster.location_id), read_staged(session, cluster.location_id)
        return SpaceNow(name, used, staged, read_space(session, By.STEP, Scope(cluster.location_id)), held)
