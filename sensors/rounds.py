"""The rounds of pipelines with a cron trigger, as Dagster's schedules."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from ccat_models.gap.rounds import RoundNow, round_now
from ccat_models.pipeline.view import load_pipeline
from resources.ops_db import OpsDb
from sensors.gaps import GapFilling

_LOG = logging.getLogger(__name__)
_DESCRIPTION = (
    "Begins a round of the pipeline {pipeline}: what is missing is run, with the data that have arrived by then. "
    "Times that pass while no daemon runs begin one round together. Switched off, no time begins a round: what passes "
    "meanwhile begins one round when it is switched on again. A round in progress goes on, and `ccat run` works, too."
)


@dataclass(frozen=True)
class RoundTimes:
    """When the rounds of a pipeline begin, and what Dagster calls that."""

    schedule: str
    pipeline: str
    expression: str
    time_zone: str
    assets: Collection[dg.AssetKey]  # to show on its page; they must have the same partitions


def round_schedule(times: RoundTimes, filling: GapFilling, ops_db: Callable[[], OpsDb]) -> dg.ScheduleDefinition | None:
    """Return the schedule of a pipeline; None, with a warning, where Dagster does not accept its times.

    ops-db alone decides whether a round is due, so that a time that both this schedule and the sensor `gaps` see begins
    one round, and one that neither sees at its time begins it later. Dagster reads a few expressions in another way
    than cron does, e.g. `0 6 1 * */2`: a tick without a round says so, and the sensor begins the round at its time.
    """

    def tick(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
        did = filling.visit(context)
        with ops_db().read() as session:
            pipeline = load_pipeline(session, times.pipeline)
            now = round_now(session, pipeline)
        if not pipeline.enabled:
            return dg.SkipReason(f"the pipeline is disabled: ccat pipeline enable {times.pipeline}")
        return dg.SkipReason(f"{_words(now, context.scheduled_execution_time)}; {did}")

    try:
        return dg.schedule(
            name=times.schedule,
            cron_schedule=times.expression,
            execution_timezone=times.time_zone,
            target=dg.AssetSelection.assets(*times.assets),
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=_DESCRIPTION.format(pipeline=times.pipeline),
        )(tick)
    except dg.DagsterInvalidDefinitionError as refusal:
        _LOG.warning("no schedule for pipeline %s, whose rounds begin nevertheless: %s", times.pipeline, refusal)
        return None


def _words(now: RoundNow, scheduled: datetime) -> str:
    following = f"the next one is due at {now.next_at:%Y-%m-%d %H:%M} UTC" if now.next_at else "no next one is known"
    if now.begun_at is None or now.begun_at < scheduled:
        return f"no round was due, {following}"
    state = "is in progress" if now.ended_at is None else "has ended"
    return f"the round that began at {now.begun_at:%H:%M:%S} UTC {state}, {following}"
