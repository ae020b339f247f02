from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Lock

import dagster as dg

from resources.request.standing import PipelineRound, run_round
from resources.run.executor import Executor

INTERVAL_SECONDS = 10


@dataclass(frozen=True)
class GapFilling:
    """What the sensor `gaps` and the schedules of pipelines do; in one process only one of them does it at a time."""

    executor: Callable[[], Executor]
    paused: Callable[[dg.DagsterInstance], Collection[str]]  # pipelines whose schedule is switched off
    _turn: Lock = field(default_factory=Lock)

    def visit(self, context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> str:
        """Follow changes, begin the rounds that are due, request and send what is missing; return what was done."""
        if not self._turn.acquire(blocking=False):
            return "an earlier tick is still at work"
        try:
            mover = self.executor()
            found = run_round(mover.cluster, self.paused(context.instance))
            if found is None:
                return "nothing has changed"
            for name, count in sorted(found.created.items()):
                context.log.info("%s: %d runs requested", name, count)
            if found.created.total() and mover.tick():
                mover.release()
        finally:
            self._turn.release()
        return _summary(found)


def gaps_sensor(filling: GapFilling) -> dg.SensorDefinition:
    """Return the sensor that follows changes and fills the gaps of this processing location's pipelines.

    Runs are requested in ops-db, detached, and sent in the same tick. A request is one transaction: a tick that is
    repeated, or dies, never requests a run twice. If nothing has changed, it reads once and writes nothing. The first
    pipeline round over a million sub-groups takes longer than Dagster waits for a tick: it continues in the background,
    and ticks do nothing until it has ended.
    """

    @dg.sensor(
        name="gaps",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Follows new, changed and withdrawn data, software and declarations, and requests missing runs.",
    )
    def gaps(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(filling.visit(context))

    return gaps


def _summary(found: PipelineRound) -> str:
    return (
        f"evaluated {found.judged.total()} sub-groups, {found.changed.total()} of them changed, "
        f"{found.created.total()} runs requested"
    )
