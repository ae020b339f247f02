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
    """The sensor's cursor: what has been told whole, and how far it has come with what was decided since."""

    whole: Decisions
    until: Decisions | None = None
    after: RunId = RunId(0)


Show = Callable[[dg.DagsterInstance, Sequence[RunId]], None]


def decisions_sensor(ops_db: Callable[[], OpsDb], show: Show) -> dg.SensorDefinition:
    """Return the sensor that shows on the asset checks of completed runs what was decided about them since.

    Idle, it reads once. Killed in the middle, it tells some of it again, which changes nothing.
    """

    @dg.sensor(
        name="decisions",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows waivers, taints and changed limits on the checks of runs that had completed before.",
    )
    def decisions(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = read_cursor(context.cursor, Cursor(whole=Decisions()))
        with ops_db().read() as session:
            newest = newest_decisions(session)
            if told.until is None and newest == told.whole:
                return dg.SkipReason("nothing was decided")
            now = told.model_copy(update={"until": told.until or newest})
            now, count = _tell(session, now, partial(show, context.instance))
        context.update_cursor(now.model_dump_json())
        return dg.SkipReason(f"decisions about {count} runs were shown")

    return decisions


def _tell(session: Session, told: Cursor, show: Callable[[Sequence[RunId]], None]) -> tuple[Cursor, int]:
    """Tell some pages of what was decided; return how far that is, and of how many runs it was."""
    count = 0
    for _ in range(_PAGES):
        runs = runs_decided(session, told.whole, after=told.after, limit=_PAGE)
        if runs:
            show(runs)
        count += len(runs)
        if len(runs) < _PAGE:
            return Cursor(whole=told.until or told.whole), count
        told = told.model_copy(update={"after": runs[-1]})
    return told, count
