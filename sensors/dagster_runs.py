"""Dagster runs that died or were cancelled, and what they leave behind in ops-db."""

from collections.abc import Callable, Iterator

import dagster as dg

from ccat_models.clock import Clock
from ccat_models.run.cancel import abandon, stop_waiting, waiters
from resources.ops_db import OpsDb
from resources.run.holder import is_gone

INTERVAL_SECONDS = 30
HOLDER_TAG = "ccat/holder"  # of a Dagster run: the process that executes it, as `resources.run.holder` names it
_AT_WORK = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)


def dagster_runs_sensor(ops_db: Callable[[], OpsDb], waiter_prefix: str, clock: Clock) -> dg.SensorDefinition:
    """Return the sensor that ends Dagster runs whose process is gone, and cleans up after runs that are over.

    A run may be cancelled before it could cancel its jobs: this sensor cancels those that no other process waits for.
    Jobs of a run that failed go on; the run that Dagster starts in its place joins them.
    """

    @dg.sensor(
        name="dagster_runs",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process is gone; cancels the jobs of cancelled runs.",
    )
    def dagster_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = list(_end_dead(context.instance))
        cleaned_up = list(_clean_up(context.instance, ops_db(), waiter_prefix, clock))
        if not ended and not cleaned_up:
            return dg.SkipReason("no run has died")
        return dg.SkipReason("; ".join([*ended, *cleaned_up]))

    return dagster_runs


def _end_dead(instance: dg.DagsterInstance) -> Iterator[str]:
    """End the runs whose process is gone; the code server, which would end them, may have died with it."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(_AT_WORK))):
        holder = run.tags.get(HOLDER_TAG)
        if holder is None or not is_gone(holder):
            continue
        why = f"the process that executed it, {holder}, is gone"
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, why)
        else:
            instance.report_run_failed(run, f"{why}; jobs it waited for go on")
        yield f"run {run.run_id} was ended"


def _clean_up(instance: dg.DagsterInstance, ops_db: OpsDb, prefix: str, clock: Clock) -> Iterator[str]:
    """Cancel the jobs of cancelled runs, and remove the waiters of all runs that are over."""
    with ops_db.read() as session:
        names = waiters(session, prefix)
    for name in names:
        run = instance.get_run_by_id(name.removeprefix(prefix))
        if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
            with ops_db.write() as session:
                asked = abandon(session, name, by=name, now=clock())
            yield f"{len(asked)} jobs of run {run.run_id} were cancelled"
        elif run is None or run.status in _OVER:
            with ops_db.write() as session:
                stop_waiting(session, name)
            yield f"run {name.removeprefix(prefix)} no longer waits for jobs"
