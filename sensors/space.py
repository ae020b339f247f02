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
TOLD_A_TICK = 200  # purged sub-groups
NUMBERS_EVERY = timedelta(minutes=10)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=2), timedelta(hours=1)  # the decision takes seconds, and holds a lock
NEWS_FOR = timedelta(days=1)  # a purge that is older is none for a new Dagster


@dataclass(frozen=True)
class SpaceNow:
    """What a location's room is used for."""

    location: str
    usage: Usage
    staged: Staged
    steps: Sequence[SpaceRow]
    held: Sequence[StepHeld]


@dataclass(frozen=True)
class Describe:
    """What Dagster is told: of a run whose products were purged, and of what is used."""

    purged: Callable[[PurgedRun], dg.AssetObservation]
    used: Callable[[SpaceNow], Iterator[dg.AssetMaterialization | dg.AssetObservation]]


class Pause(BaseModel):
    """Until when nothing more is removed, as nothing could be when that was last tried."""

    until: datetime
    length: timedelta

    @staticmethod
    def after(last: "Pause | None", now: datetime) -> "Pause":
        """Return the next pause, twice as long as the last one."""
        length = FIRST_PAUSE if last is None else min(2 * last.length, LONGEST_PAUSE)
        return Pause(until=now + length, length=length)


class Cursor(BaseModel):
    """The sensor's cursor: the signs as they were told, the last purged run that was, when numbers were; a pause."""

    signs: Signs | None = None
    place: PurgePlace | None = None
    at: datetime | None = None
    pause: Pause | None = None


def space_sensor(cluster: Callable[[], Cluster], describe: Describe, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that keeps room at this processing location, and tells what was removed.

    It ends what somebody has begun to remove, releases staged raw data that nobody needs, and makes room above the high
    watermark; where nothing may go, it tries that less and less often. Idle, and without a watermark, it reads once.
    Safe to kill, and to run beside another.
    """

    @dg.sensor(
        name="space",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes room above the high watermark, and tells what products take up.",
    )
    def space(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told, here = read_cursor(context.cursor, Cursor()), cluster()
        try:
            freed, pause = _make_room(here, told.pause, clock())
            paused = told.model_copy(update={"pause": pause})
            said = _tell(context.instance, here, paused, describe, clock())
        except TransientError as error:
            return dg.SkipReason(f"the processing location does not answer: {error}")
        if (said or paused) != told:
            context.update_cursor((said or paused).model_dump_json())
        if freed:
            return dg.SkipReason(f"{freed} bytes were freed")
        return dg.SkipReason("nothing has changed" if said is None else "what is used was told")

    return space


def _make_room(cluster: Cluster, pause: Pause | None, now: datetime) -> tuple[int, Pause | None]:
    """Remove what is to be removed; return how many bytes became free, and the pause where nothing more may go."""
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


def _tell(
    instance: dg.DagsterInstance, cluster: Cluster, told: Cursor, describe: Describe, now: datetime
) -> Cursor | None:
    """Tell what is new, as much as a tick has time for; return how far that is, None where nothing was."""
    with cluster.ops_db.read() as session:
        signs = read_signs(session, cluster.location_id)
        if signs == told.signs:
            return None
        place = told.place or PurgePlace(now - NEWS_FOR)
        purged = purged_since(session, cluster.location_id, place, TOLD_A_TICK)
    is_due = told.at is None or now - told.at >= NUMBERS_EVERY
    found = _now(cluster) if is_due else None  # before anything is told: the location may not answer
    for run in purged:
        instance.report_runless_asset_event(describe.purged(run))
    place = purged[-1].place if purged else place
    if found is None:
        return told.model_copy(update={"place": place}) if purged else None
    for event in describe.used(found):
        instance.report_runless_asset_event(event)
    seen = told.signs if len(purged) == TOLD_A_TICK else signs
    return told.model_copy(update={"signs": seen, "place": place, "at": now})


def _now(cluster: Cluster) -> SpaceNow:
    used, held = usage(cluster), kept_by_step(cluster)
    with cluster.ops_db.read() as session:
        name, staged = location_name(session, cluster.location_id), read_staged(session, cluster.location_id)
        return SpaceNow(name, used, staged, read_space(session, By.STEP, Scope(cluster.location_id)), held)
