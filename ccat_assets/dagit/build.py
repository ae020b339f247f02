from collections.abc import Collection
from functools import partial

import dagster as dg

from ccat_assets.dagit.catalogue import definitions_of
from ccat_assets.dagit.dagster_private import stopped_schedules
from ccat_assets.dagit.names import schedule_names, step_key
from ccat_assets.dagit.needed_runs import needed_runs
from ccat_assets.dagit.overview import overview_event, whole_overview_event
from ccat_assets.dagit.publish import due, publish_decided, publish_due
from ccat_assets.dagit.raw_publisher import raw_data_publisher, reasons_event
from ccat_assets.dagit.snapshot import Snapshot
from ccat_assets.dagit.space import purged_event, space_events
from ccat_assets.provenance.openlineage import events_by_run
from ccat_assets.wiring.application import Application
from ccat_models.run.unpublished import WAITER_PREFIX
from resources.openlineage import OpenLineageReceiver
from resources.ops_db import OpsDb
from sensors.dagster_runs import dagster_runs_sensor
from sensors.decisions import decisions_sensor
from sensors.gaps import GapFilling, gaps_sensor
from sensors.jobs import jobs_sensor
from sensors.openlineage import openlineage_sensor
from sensors.overview import overview_sensor
from sensors.publishing import publishing_sensor
from sensors.raw_data import raw_data_sensor
from sensors.reasons import reasons_sensor
from sensors.retention import retention_sensor
from sensors.rounds import RoundTimes, round_schedule
from sensors.space import Describe, space_sensor


def build(snapshot: Snapshot, application: Application) -> dg.Definitions:
    """Return the assets of a snapshot, all sensors, and the schedules; all of them use the application."""
    filling = GapFilling(lambda: application.executor, partial(_paused, snapshot))
    daemon = dg.Definitions(
        sensors=_sensors(application, filling), schedules=_schedules(snapshot, application, filling)
    )
    return dg.Definitions.merge(definitions_of(snapshot, application), daemon)


def _paused(snapshot: Snapshot, instance: dg.DagsterInstance) -> Collection[str]:
    names = schedule_names(snapshot)
    stopped = stopped_schedules(instance) if names else ()
    return [pipeline for pipeline, schedule in names.items() if schedule in stopped]


def _schedules(snapshot: Snapshot, application: Application, filling: GapFilling) -> list[dg.ScheduleDefinition]:
    names = schedule_names(snapshot)
    times = [
        RoundTimes(
            schedule=names[pipeline.name],
            pipeline=pipeline.name,
            expression=pipeline.cron.expression,
            time_zone=pipeline.cron.time_zone,
            assets=[step_key(pipeline.name, step.name) for step in pipeline.first_steps],
        )
        for pipeline in snapshot.pipelines
        if pipeline.enabled and pipeline.cron is not None
    ]
    found = [round_schedule(one, filling, lambda: application.cluster.ops_db) for one in times]
    return [schedule for schedule in found if schedule is not None]


def _sensors(application: Application, filling: GapFilling) -> list[dg.SensorDefinition]:
    clock, days = application.clock, application.settings.dagster_retention_days

    def ops_db() -> OpsDb:
        return application.cluster.ops_db  # only when it is needed: it raises for a database that is not current

    sensors = [
        raw_data_sensor(ops_db, raw_data_publisher(application), clock),
        gaps_sensor(filling),
        jobs_sensor(lambda: application.executor),
        publishing_sensor(partial(due, application), partial(publish_due, application), clock),
        decisions_sensor(ops_db, partial(publish_decided, application)),
        overview_sensor(ops_db, overview_event, whole_overview_event, clock),
        reasons_sensor(ops_db, reasons_event, clock),
        space_sensor(lambda: application.cluster, Describe(purged_event, space_events), clock),
        dagster_runs_sensor(ops_db, WAITER_PREFIX, clock),
        retention_sensor(days, partial(needed_runs, application), clock),
    ]
    receiver = _receiver(application)
    if receiver is not None:
        events_of = partial(events_by_run, application.settings.openlineage_namespace)
        sensors.append(openlineage_sensor(ops_db, receiver, events_of, clock))
    return sensors


def _receiver(application: Application) -> OpenLineageReceiver | None:
    settings = application.settings
    if not settings.openlineage_url:
        return None
    key = settings.openlineage_api_key
    return OpenLineageReceiver(settings.openlineage_url, None if key is None else key.get_secret_value())
