import dagster as dg

from ccat_assets.application import Application
from ccat_assets.assets import step_assets
from ccat_assets.partitions import Partitions
from ccat_assets.raw_assets import raw_assets
from ccat_assets.snapshot import Snapshot
from sensors.jobs import jobs_sensor


def build(snapshot: Snapshot, application: Application) -> dg.Definitions:
    """Return all that Dagster knows of a snapshot; the application is what its runs work with."""
    partitions = Partitions(snapshot)
    return dg.Definitions(
        assets=[*raw_assets(snapshot, partitions), *step_assets(snapshot, partitions)],
        sensors=[jobs_sensor(lambda: application.executor)],
        resources={"application": application},
        executor=dg.in_process_executor,  # a run has one step: a process more would only cost its start
    )
