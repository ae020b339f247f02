from collections.abc import Callable

import dagster as dg

from ccat_models.run.work import anything_to_do
from resources.run.executor import Executor

INTERVAL_SECONDS = 5


def jobs_sensor(executor: Callable[[], Executor]) -> dg.SensorDefinition:
    """Return the sensor that moves runs on for which nobody waits: detached ones, and those whose waiter died.

    It holds the cluster's lease only while it acts, so that an attached run is never slowed to its interval. Idle, it
    reads once and writes nothing.
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
                return dg.SkipReason("nothing is on its way")
        if not mover.tick():
            return dg.SkipReason("somebody else moves the jobs on")
        mover.release()
        return dg.SkipReason("jobs were moved on")

    return jobs
