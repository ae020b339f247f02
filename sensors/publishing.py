import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import dagster as dg

from ccat_models.clock import Clock
from ccat_models.tables.base import StepId

INTERVAL_SECONDS = 10
_REST = timedelta(minutes=5)  # after a failure: each try leaves one more failed Dagster run

Due = Callable[[dg.DagsterInstance], Mapping[StepId, datetime]]
Publish = Callable[[dg.DagsterInstance, Collection[StepId]], int]


class _Turn:
    """What the ticks of this process share; Dagster starts the next tick though one that takes too long still works."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rests_until: datetime | None = None


def publishing_sensor(due: Due, publish: Publish, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that publishes runs that were not requested by Dagster, for the steps that are due.

    The Dagster runs that publish are executed within the tick: one for 100 sub-groups costs a third of a CPU-second
    there, while launching it would cost a process more.
    """
    turn = _Turn()

    @dg.sensor(
        name="publishing",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes runs that were requested outside of Dagster, once they have ended.",
    )
    def publishing(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if turn.rests_until is not None and clock() < turn.rests_until:
            return dg.SkipReason(f"publishing failed: the next try is at {turn.rests_until:%H:%M:%S}")
        if not turn.lock.acquire(blocking=False):
            return dg.SkipReason("an earlier tick still publishes")
        try:
            steps = due(context.instance)
            if not steps:
                return dg.SkipReason("nothing to publish")
            count = publish(context.instance, steps)
        except RuntimeError:
            turn.rests_until = clock() + _REST
            raise
        finally:
            turn.lock.release()
        return dg.SkipReason(f"{count} runs were published")

    return publishing
