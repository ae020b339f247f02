"""What the sensors of raw data and of reasons publish."""

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

_SECONDS = 10.0  # for each of three pieces; Dagster waits a minute for a tick


def raw_data_publisher(application: Application) -> RawDataPublisher:
    """Return the pieces of work of the sensor of raw data, each short enough for a tick."""
    clock = application.clock

    def add_partitions(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        budget = Budget(_SECONDS)
        sync_partitions(instance, session, clock=clock, after=after, budget=budget)
        return not budget.spent

    def publish_packages(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        del after  # Dagster's newest event says where to continue
        budget = Budget(_SECONDS)
        publish_raw(instance, session, clock=clock, budget=budget)
        return not budget.spent

    def hide_distant(instance: dg.DagsterInstance, session: Session, after: Marks | None) -> bool:
        del after
        budget = Budget(_SECONDS)
        hide_partitions(instance, session, clock=clock, budget=budget)
        return not budget.spent

    return RawDataPublisher(add_partitions, publish_packages, hide_distant)


def reasons_event(
    pipeline: str, step: str, counts: dict[str, int], opened: list[tuple[str, str, int | None]]
) -> dg.AssetObservation:
    """Return the event with how many sub-groups of a step have which reason, and the first open sub-groups.

    `opened` are rows of sub-group key, reason and number of the latest run. Dagit draws the counts over time.
    """
    columns = {"sub_group": "string", "reason": "string", "latest_run": "int"}
    return dg.AssetObservation(
        asset_key=step_key(pipeline, step),
        description="why sub-groups are, or are not, run",
        metadata={
            **{reason: dg.MetadataValue.int(count) for reason, count in sorted(counts.items())},
            "open_sub_groups": table(columns, opened),
        },
    )
