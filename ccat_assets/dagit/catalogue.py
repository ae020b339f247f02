import dagster as dg

from ccat_assets.dagit.overview import overview_assets
from ccat_assets.dagit.partitions import Partitions
from ccat_assets.dagit.raw_assets import raw_assets
from ccat_assets.dagit.snapshot import Snapshot
from ccat_assets.dagit.space import space_assets
from ccat_assets.dagit.step_assets import step_assets
from ccat_assets.wiring.application import Application


def definitions_of(snapshot: Snapshot, application: Application) -> dg.Definitions:
    """Return the assets of a snapshot, with the application as the resource of their runs."""
    partitions = Partitions(snapshot)
    return dg.Definitions(
        assets=[
            *raw_assets(snapshot, partitions),
            *overview_assets(snapshot),
            *space_assets(snapshot),
            *step_assets(snapshot, partitions),
        ],
        resources={"application": application},
        executor=dg.in_process_executor,  # a run has one step: another process would only cost time
    )
