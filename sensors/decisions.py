from collections.abc import Callable, Sequence
from functools import partial

import dagster as dg
from pydantic import BaseModel

from ccat_models.lineage.decisions import Decisions, newest_decisions, runs_decided
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb, Session
from sensors.cursor import read_cursor

INTERVAL_SECONDS = 15
_PAGE = 200
_PAGES = 10  # in one tick, of which Dagster waits for a minute


class Cursor(BaseModel):
    """The sensor's cursor.

    All decisions up to `whole` are published. Those from there to `until` are being published: the runs up to `after`
    are done.
    """

    whole: Decisions
    until: Decisions | None = None
    after: RunId = RunId(0)


Publish = Callable[[dg.DagsterInstance, Sequence[RunId]], None]


def decisions_sensor(ops_db: Callable[[], OpsDb], publish: Publish) -> dg.SensorDefinition:
    """Return the sensor that publishes the asset checks of completed runs again once a decision has changed them.

    Idle, it reads once. Killed in the middle, it publishes some of them again, which changes nothing.
    """

    @dg.sensor(
        name="decisions",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes waivers, taints and changed limits on the checks of runs that had completed before.",
    )
    def decisions(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        cursor = read_cursor(context.cursor, Cursor(whole=Decisions()))
        with ops_db().read() as session:
            newest = newest_decisions(session)
            if cursor.until is None and newest == cursor.whole:
                return dg.SkipReason("no new decisions")
            cursor = cursor.model_copy(update={"until": cursor.until or newest})
            cursor, count = _publish(session, cursor, partial(publish, context.instance))
        context.update_cursor(cursor.model_dump_json())
        return dg.SkipReason(f"decisions about {count} runs were published")

    return decisions


def _publish(session: Session, cursor: Cursor, publish: Callable[[Sequence[RunId]], None]) -> tuple[Cursor, int]:
    """Publish at most `_PAGES` pages of runs; return the moved cursor and how many runs were published."""
    count = 0
    for _ in range(_PAGES):
        runs = runs_decided(session, cursor.whole, after=cursor.after, limit=_PAGE)
        if runs:
            publish(runs)
        count += len(runs)
        if len(runs) < _PAGE:
            return Cursor(whole=cursor.until or cursor.whole), count
        cursor = cursor.model_copy(update={"after": runs[-1]})
    return cursor, count
