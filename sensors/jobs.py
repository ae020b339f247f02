from collections.abc import Callable

import dagster as dg

from ccat_models.run.work import anything_to_do
from resources.run.executor import Executor

INTERVAL_SECONDS = 5


def jobs_sensor(executor: Callable[[], Executor]) -> dg.SensorDefinition:
    """Return the sensor that advances runs for which no process waits: detached ones, and those whose waiter died.

    It holds the cluster's lease only during a tick, so that a process that waits for its runs can advance them between
    two ticks. Idle, it reads once and writes nothing.
    """

    @dg.sensor(
        name="jobs",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends, observes and collects the jobs of this processing location.",
    )
    def jobs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        del context
        mover = executor()
        with mover.cluster.ops_db.read() as session:
            if not anything_to_do(session, mover.cluster.location_id):
                return dg.SkipReason("no run is in flight")
        if not mover.tick():
            return dg.SkipReason("another process advances the runs")
        mover.release()
        return dg.SkipReason("runs were advanced")

    return jobs
