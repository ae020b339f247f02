"""How Dagster is kept up with ops-db, in pieces that a sensor's tick has time for."""

import dagster as dg

from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.metadata import table
from ccat_assets.dagit.names import step_key
from ccat_assets.dagit.partitions import hide_partitions, sync_partitions
from ccat_assets.dagit.raw_assets import publish_raw
from ccat_assets.wiring.application import Application
from ccat_models.sub_group.activity import Marks
from resources.ops_db import Session
from sensors.raw_data import RawDataPublisher

_SECONDS = 10.0  # each of three pieces; Dagster waits a minute for a tick


def raw_data_publisher(application: Application) -> RawDataPublisher:
    """Return the pieces of work of the sensor of raw data."""
    clock = application.clock

    def add(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        budget = Budget(_SECONDS)
        sync_partitions(instance, session, clock=clock, after=after, budget=budget)
        return not budget.spent

    def observe(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        del after  # Dagster's newest event says where to go on
        budget = Budget(_SECONDS)
        publish_raw(instance, session, clock=clock, budget=budget)
        return not budget.spent

    def hide(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        del after
        budget = Budget(_SECONDS)
        hide_partitions(instance, session, clock=clock, budget=budget)
        return not budget.spent

    return RawDataPublisher(add, observe, hide)


def reasons_observed(
    pipeline: str, step: str, counts: dict[str, int], opened: list[tuple[str, str, int | None]]
) -> dg.AssetObservation:
    """Return a step's reasons: a number each, which Dagit draws over time, and the first sub-groups that are open."""
    columns = {"sub_group": "string", "reason": "string", "latest_run": "int"}
    return dg.AssetObservation(
        asset_key=step_key(pipeline, step),
        description="why sub-groups are, or are not, run",
        metadata={
            **{reason: dg.MetadataValue.int(count) for reason, count in sorted(counts.items())},
            "open_sub_groups": table(columns, opened),
        },
    )
