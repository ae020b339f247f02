"""The event by which Dagit shows why a sub-group has no products.

Dagster has an event for a failed partition, but its open-source storage does not keep it. So an observation says what
happened: on the page of the Dagster run, among the asset's events and, if the partition was materialized before, with
the partition.
"""

import dagster as dg

from ccat_assets.dagit.attempt_files import Files
from ccat_assets.dagit.metadata import Metadata, job_facts, log_facts, unless_out_of_reach
from ccat_assets.dagit.names import step_key
from ccat_models.lineage.run_report import RunReport
from ccat_models.run.remedies import REMEDIES


def failure(report: RunReport, files: Files) -> dg.AssetObservation:
    """Return the event of a run that failed or was cancelled: class, message, remedy, job, and the end of its log."""
    run, attempt = report.run, report.attempt
    message = run.failure_message or "no message"
    metadata: Metadata = {"message": dg.MetadataValue.text(message)}
    if run.failure_class is not None:
        metadata["class"] = dg.MetadataValue.text(run.failure_class.value)
        metadata["meaning"] = dg.MetadataValue.text(REMEDIES[run.failure_class].meaning)
        metadata["remedy"] = dg.MetadataValue.text(REMEDIES[run.failure_class].remedy)
    if attempt is not None:
        metadata |= job_facts(attempt)
        if attempt.directory:
            directory, location_id = attempt.directory, report.location_id
            metadata |= unless_out_of_reach("log", lambda: log_facts(directory, files.at(location_id)))
    metadata["run_id"] = dg.MetadataValue.int(run.id)
    kind = run.failure_class.value if run.failure_class else run.status.value.lower()
    return dg.AssetObservation(
        step_key(report.pipeline, run.step.name),
        description=f"run {run.id} failed: {kind}: {message}",
        metadata=metadata,
        partition=report.key,
    )


def not_run(asset_key: dg.AssetKey, partition: str, why: str) -> dg.AssetObservation:
    """Return the event of a sub-group for which no run could be created."""
    return dg.AssetObservation(
        asset_key, description=why, metadata={"reason": dg.MetadataValue.text(why)}, partition=partition
    )
