from collections.abc import Callable
from threading import Lock

import dagster as dg

from resources.request.standing import PipelineRound, run_round
from resources.run.executor import Executor

INTERVAL_SECONDS = 10


def gaps_sensor(executor: Callable[[], Executor]) -> dg.SensorDefinition:
    """Return the sensor that follows what has changed and fills the gaps of this processing location's pipelines.

    Runs are requested in ops-db, detached, where a request is one transaction: no tick, however often it is repeated or
    wherever it dies, asks for a run twice. They are sent in the same tick. Idle, it reads once and writes nothing. The
    first look at a million sub-groups takes longer than Dagster waits for a tick: it goes on, and later ticks pass.
    """
    turn = Lock()

    @dg.sensor(
        name="gaps",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Follows new, changed and withdrawn data, software and declarations, and requests missing runs.",
    )
    def gaps(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not turn.acquire(blocking=False):
            return dg.SkipReason("an earlier tick is still at work")
        try:
            mover = executor()
            found = run_round(mover.cluster)
            if found is None:
                return dg.SkipReason("nothing has changed")
            for name, count in sorted(found.created.items()):
                context.log.info("%s: %d runs requested", name, count)
            if found.created.total() and mover.tick():
                mover.release()
        finally:
            turn.release()
        return dg.SkipReason(_said(found))

    return gaps


def _said(found: PipelineRound) -> str:
    return (
        f"looked at {found.judged.total()} sub-groups, {found.changed.total()} of them changed, "
        f"{found.created.total()} runs requested"
    )
