"""Runs as OpenLineage events (https://openlineage.io/docs/spec/run-cycle): a START and one end for each run."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    data_quality_metrics_dataset,
    dataset_version_dataset,
    documentation_job,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    ownership_job,
    parent_run,
    processing_engine_run,
)
from openlineage.client.serde import Serde

from ccat_assets.provenance import names
from ccat_assets.provenance.openlineage_facets import PRODUCER, SupersededDatasetFacet, house_facets
from ccat_models.lineage.record import (
    ProductRecord,
    ProvenanceRecord,
    RecordScope,
    RunRecord,
    ScopeKind,
    StepRecord,
)
from ccat_models.lineage.record_reading import record_of
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import RunStatus
from resources.ops_db import Session

DEFAULT_NAMESPACE = "ccat"
_END_OF = {
    RunStatus.COMPLETED: RunState.COMPLETE,
    RunStatus.FAILED: RunState.FAIL,
    RunStatus.CANCELLED: RunState.ABORT,
}


def openlineage_lines(record: ProvenanceRecord, namespace: str = DEFAULT_NAMESPACE) -> Iterator[str]:
    """Yield the events of a record's runs as lines of JSON; each run's START comes before its end."""
    for run in record.runs.values():
        for event in events_of(record, run, namespace):
            yield Serde.to_json(event) + "\n"


def events_of(record: ProvenanceRecord, run: RunRecord, namespace: str = DEFAULT_NAMESPACE) -> list[RunEvent]:
    """Return a run's START, and its COMPLETE, FAIL or ABORT once it has ended."""
    events = [_event(record, run, namespace, RunState.START, run.started_at)]
    if run.ended_at is not None:
        events.append(_event(record, run, namespace, _END_OF[run.status], run.ended_at))
    return events


def events_by_run(namespace: str, session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[RunEvent]]:
    """Return the events of some runs, by run; all runs are read together."""
    record = record_of(session, RecordScope(ScopeKind.SOME_RUNS, "", ""), run_ids, with_files=False)
    return {run.id: events_of(record, run, namespace) for run in record.runs.values()}


def run_uuid(namespace: str, run_id: int) -> str:
    """Return the UUID by which receivers know a run; it never changes."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{names.NAMESPACE}{namespace}:{names.run_name(run_id)}"))


def _event(record: ProvenanceRecord, run: RunRecord, namespace: str, state: RunState, at: datetime) -> RunEvent:
    step, ended = record.steps[run.step_id], state is not RunState.START
    return RunEvent(
        eventType=state,
        eventTime=at.isoformat(),
        producer=PRODUCER,
        run=Run(run_uuid(namespace, run.id), _run_facets(record, run, namespace, ended=ended)),
        job=Job(namespace, f"{step.pipeline}.{step.step}", _job_facets(step)),
        inputs=_inputs(record, run, namespace),
        outputs=[_output(product, run, namespace) for product in record.made_by(run.id)] if ended else [],
    )


def _run_facets(record: ProvenanceRecord, run: RunRecord, namespace: str, *, ended: bool) -> dict[str, RunFacet]:
    step = record.steps[run.step_id]
    whole = uuid.uuid5(uuid.NAMESPACE_URL, f"{names.NAMESPACE}{namespace}:{step.pipeline}:{step.revision}")
    facets: dict[str, RunFacet] = {
        "parent": parent_run.ParentRunFacet(
            parent_run.Run(str(whole)), parent_run.Job(namespace, step.pipeline), producer=PRODUCER
        ),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            names.orchestrator_version(), names.ORCHESTRATOR, producer=PRODUCER
        ),
    }
    if ended:
        facets |= house_facets(record, run)
        if run.failure_message is not None:
            message = f"{run.failure_class.value if run.failure_class else 'failed'}: {run.failure_message}"
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message, "unknown", producer=PRODUCER)
    return facets


def _job_facets(step: StepRecord) -> dict[str, JobFacet]:
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "CCAT", "TASK", producer=PRODUCER),
        "ownership": ownership_job.OwnershipJobFacet(
            [ownership_job.Owner(f"user:{step.applied_by}", "DECLARED_BY")], producer=PRODUCER
        ),
    }
    if step.description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(step.description, producer=PRODUCER)
    return facets


def _inputs(record: ProvenanceRecord, run: RunRecord, namespace: str) -> list[InputDataset]:
    read = [(f"raw/{record.packages[link.content].name}", link.checksum) for link in run.packages]
    read += [(record.products[link.product_id].name, link.sha256) for link in run.products]
    return [InputDataset(namespace, name, facets=_version(checksum)) for name, checksum in read]


def _output(product: ProductRecord, run: RunRecord, namespace: str) -> OutputDataset:
    size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        size=product.size_bytes, fileCount=1, producer=PRODUCER
    )
    facets, numbers = _version(product.sha256), [one for one in run.metrics if one.product_id == product.id]
    if numbers:  # single numbers, not statistics of a distribution
        number = data_quality_metrics_dataset.ColumnMetrics
        columns = {one.name: number(count=1, min=one.value, max=one.value) for one in numbers}
        facets["dataQualityMetrics"] = data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
            columns, producer=PRODUCER
        )
    if product.superseded_by is not None:
        facets["ccat_superseded"] = SupersededDatasetFacet(product.superseded_by, producer=PRODUCER)
    return OutputDataset(namespace, product.name, outputFacets={"outputStatistics": size}, facets=facets)


def _version(checksum: str) -> dict[str, DatasetFacet]:
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(f"sha256:{checksum}", producer=PRODUCER)}
