"""The event by which Dagit shows why a sub-group has no products.

Dagster has an event for a failed partition, but its open-source storage does not keep it. So an observation says what
happened: on the page of the Dagster run, among the asset's events and, if the partition was materialized before, with
the partition.
"""

import dagster as dg

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.metadata import Metadata, attempt_facts
from ccat_assets.dagit.names import step_key
from ccat_models.lineage.run_report import RunReport
from ccat_models.run.remedies import REMEDIES
from ccat_models.tables.execution import ExecutedReductionStep


def failure(report: RunReport, files: Files) -> dg.AssetObservation:
    """Return the event of a run that failed or was cancelled: class, message, remedy, job, and the end of its log."""
    run = report.run
    metadata: Metadata = {"message": dg.MetadataValue.text(_message(run))}
    if run.failure_class is not None:
        metadata["class"] = dg.MetadataValue.text(run.failure_class.value)
        metadata["meaning"] = dg.MetadataValue.text(REMEDIES[run.failure_class].meaning)
        metadata["remedy"] = dg.MetadataValue.text(REMEDIES[run.failure_class].remedy)
    metadata |= attempt_facts(report, files)
    metadata["run_id"] = dg.MetadataValue.int(run.id)
    return dg.AssetObservation(
        step_key(report.pipeline, run.step.name),
        description=f"run {run.id} failed: {_ending(run)}",
        metadata=metadata,
        partition=report.key,
    )


def why_failed(report: RunReport) -> str:
    """Return how a run ended that did not complete, as text."""
    return f"run {report.run.id}: {_ending(report.run)}"


def _ending(run: ExecutedReductionStep) -> str:
    kind = run.failure_class.value if run.failure_class else run.status.value.lower()
    return f"{kind}: {_message(run)}"


def _message(run: ExecutedReductionStep) -> str:
    return run.failure_message or "no message"


def not_run(asset_key: dg.AssetKey, partition: str, why: str) -> dg.AssetObservation:
    """Return the event of a sub-group for which no run could be created."""
    return dg.AssetObservation(
        asset_key, description=why, metadata={"reason": dg.MetadataValue.text(why)}, partition=partition
    )
