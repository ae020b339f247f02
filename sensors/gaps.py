from collections.abc import Callable
from threading import Lock

import dagster as dg

from resources.request.standing import PipelineRound, run_round
from resources.run.executor import Executor

INTERVAL_SECONDS = 10


def gaps_sensor(executor: Callable[[], Executor]) -> dg.SensorDefinition:
    """Return the sensor that follows changes and fills the gaps of this processing location's pipelines.

    Runs are requested in ops-db, detached, and sent in the same tick. A request is one transaction: a tick that is
    repeated, or dies, never requests a run twice. If nothing has changed, it reads once and writes nothing. The first
    pipeline round over a million sub-groups takes longer than Dagster waits for a tick: it continues in the background,
    and ticks do nothing until it has ended.
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
        return dg.SkipReason(_summary(found))

    return gaps


def _summary(found: PipelineRound) -> str:
    return (
        f"evaluated {found.judged.total()} sub-groups, {found.changed.total()} of them changed, "
        f"{found.created.total()} runs requested"
    )
