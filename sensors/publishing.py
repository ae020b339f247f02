import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import dagster as dg

from ccat_models.clock import Clock
from ccat_models.tables.base import StepId

INTERVAL_SECONDS = 10
_REST = timedelta(minutes=5)  # after what cannot be shown, which would leave one more failed Dagster run behind a tick

Due = Callable[[dg.DagsterInstance], Mapping[StepId, datetime]]
Show = Callable[[dg.DagsterInstance, Collection[StepId]], int]


class _Turn:
    """Whose turn it is among the ticks of this process: one that takes too long is not waited for by Dagster."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rests_until: datetime | None = None


def publishing_sensor(due: Due, show: Show, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that shows in Dagit what was run without it: what the steps that are due have to show.

    It does so itself: a Dagster run that shows 100 sub-groups costs a third of a CPU-second here, and a launched one a
    process.
    """
    turn = _Turn()

    @dg.sensor(
        name="publishing",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows runs that were requested outside of Dagit, once they have ended.",
    )
    def publishing(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if turn.rests_until is not None and clock() < turn.rests_until:
            return dg.SkipReason(f"something could not be shown: the next try is at {turn.rests_until:%H:%M:%S}")
        if not turn.lock.acquire(blocking=False):
            return dg.SkipReason("an earlier tick still publishes")
        try:
            steps = due(context.instance)
            if not steps:
                return dg.SkipReason("nothing is to be shown")
            count = show(context.instance, steps)
        except RuntimeError:
            turn.rests_until = clock() + _REST
            raise
        finally:
            turn.lock.release()
        return dg.SkipReason(f"{count} runs were shown")

    return publishing
