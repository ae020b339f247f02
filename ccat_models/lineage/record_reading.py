"""Reading provenance records, in a constant number of queries for each thousand runs."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.errors import Refused
from ccat_models.lineage.record import (
    AttemptRecord,
    CheckRecord,
    MetricRecord,
    ProductRead,
    ProvenanceRecord,
    RecordScope,
    RunRecord,
    ScopeKind,
    StatusChange,
    WaiverRecord,
)
from ccat_models.lineage.record_packages import PackageRead
from ccat_models.lineage.record_scope import run_chunks, runs_in
from ccat_models.lineage.record_size import count_things
from ccat_models.lineage.record_things import (
    configs_of,
    packages_of,
    products_of,
    rows_of,
    software_of,
    steps_of,
    taints_with,
)
from ccat_models.lineage.redaction import Redaction, read_redaction
from ccat_models.lineage.validity import has_restored
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, Purpose, RunStatusHistory
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import SubGroup
from ccat_models.tables.products import QualityMetric
from ccat_models.tables.quality import QualityCheck, QualityWaiver
from ccat_models.tables.taints import RunTaint

MOST_RUNS = 10_000  # in one document, which is held in memory
MOST_THINGS = 100_000  # runs, products, packages and raw files, likewise
CHUNK_RUNS = 500

# The parts of a back end's evidence that describe the attempt, not the machine's files.
EVIDENCE = ("outcome", "signal", "state", "exit_code", "reason", "node", "host", "waits")


def read_record(session: Session, scope: RecordScope) -> ProvenanceRecord:
    """Return the record of a scope; raise Refused, before anything is loaded, if it is too large."""
    run_ids = runs_in(session, scope, limit=MOST_RUNS + 1)
    if len(run_ids) > MOST_RUNS:
        raise Refused(
            f"{scope.kind.value} {scope.name}: has more than {MOST_RUNS} runs, too many for one document: export its"
            f" products one by one, or the format openlineage, which has no such limit"
        )
    things = count_things(session, run_ids)
    if things.all > MOST_THINGS:
        raise Refused(
            f"{scope.kind.value} {scope.name}: has {things.all:,} entries ({things}), more than {MOST_THINGS:,}, "
            f"too many for one document: export {'its runs one by one (run:ID), or ' if things.runs > 1 else ''}the "
            f"format openlineage, which has no such limit"
        )
    return record_of(session, scope, run_ids)


def read_in_chunks(session: Session, scope: RecordScope, size: int = CHUNK_RUNS) -> Iterator[ProvenanceRecord]:
    """Yield the record of a scope in parts of `size` runs, without the packages' files."""
    whole = scope.kind is ScopeKind.PIPELINE
    for run_ids in run_chunks(session, scope.name, size) if whole else chunks(runs_in(session, scope), size):
        yield record_of(session, scope, run_ids, with_files=False)


def record_of(
    session: Session, scope: RecordScope, run_ids: Collection[RunId], *, with_files: bool = True
) -> ProvenanceRecord:
    """Return the record of these runs."""
    redaction = read_redaction(session)
    runs = _runs(session, run_ids, redaction)
    read = {link.product_id for run in runs.values() for link in run.products}
    taints = taints_with(session, {taint for run in runs.values() for taint in run.taints})
    packages = {link.content for run in runs.values() for link in run.packages}
    return ProvenanceRecord(
        scope=scope,
        runs=runs,
        products=products_of(session, run_ids, read),
        packages=packages_of(session, packages, {one.package_id for one in taints.values()}, with_files=with_files),
        software=software_of(session, {run.software_id for run in runs.values()}, redaction),
        configs=configs_of(session, {run.config_id for run in runs.values()}),
        steps=steps_of(session, {run.step_id for run in runs.values()}),
        taints=taints,
    )


def _runs(session: Session, run_ids: Collection[RunId], redaction: Redaction) -> dict[RunId, RunRecord]:
    query = sa.select(Run, SubGroup, has_restored(Run.id)).join(SubGroup, SubGroup.id == Run.sub_group_id)
    rows = list(rows_of(session, query.order_by(Run.id), Run.id, run_ids))
    parts = {name: read(session, run_ids, redaction) for name, read in _PARTS.items()}
    return {
        run.id: RunRecord(
            id=run.id,
            sub_group=sub_group.key,
            dimensions=sub_group.dimensions,
            status=run.status,
            reason=run.reason,
            requested_by=run.requested_by,
            created_at=run.created_at,
            status_changed_at=run.status_changed_at,
            cancel_requested_by=run.cancel_requested_by,
            cancel_requested_at=run.cancel_requested_at,
            failure_class=run.failure_class,
            failure_message=_redacted(redaction, run.failure_message),
            step_id=run.step_revision_id,
            software_id=run.software_version_id,
            config_id=run.config_id,
            regenerates=run.regenerates_run_id,
            restored=restored,
            **{name: tuple(found.get(run.id, ())) for name, found in parts.items()},
        )
        for run, sub_group, restored in rows
    }


Found = Mapping[RunId, list[Any]]


def _by_run(rows: Iterable[tuple[RunId, Any]]) -> Found:
    found = defaultdict[RunId, list[Any]](list)
    for run_id, part in rows:
        found[run_id].append(part)
    return found


def _attempts(session: Session, run_ids: Collection[RunId], redaction: Redaction) -> Found:
    query = sa.select(Attempt).where(Attempt.purpose == Purpose.EXECUTE).order_by(Attempt.run_id, Attempt.number)
    rows = rows_of(session, query, Attempt.run_id, run_ids)
    return _by_run((attempt.run_id, _attempt(attempt, redaction)) for (attempt,) in rows)


def _attempt(attempt: Attempt, redaction: Redaction) -> AttemptRecord:
    evidence = attempt.evidence or {}
    return AttemptRecord(
        number=attempt.number,
        state=attempt.state.value,
        backend=attempt.backend,
        runtime=attempt.runtime,
        host=attempt.host,
        job_id=attempt.job_id,
        created_at=attempt.created_at,
        sent_at=attempt.sent_at,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        exit_code=attempt.exit_code,
        wall_seconds=attempt.wall_seconds,
        cpu_seconds=attempt.cpu_seconds,
        peak_memory_bytes=attempt.peak_memory_bytes,
        image_sha256=attempt.image_sha256,
        failure_class=attempt.failure_class,
        failure_message=_redacted(redaction, attempt.failure_message),
        evidence={name: redaction.of(str(evidence[name])) for name in EVIDENCE if evidence.get(name) is not None},
    )


def _redacted(redaction: Redaction, text: str | None) -> str | None:
    return None if text is None else redaction.of(text)


def _history(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    change = RunStatusHistory
    query = sa.select(change.run_id, change.from_status, change.to_status, change.at).order_by(change.id)
    return _by_run((run, StatusChange(*rest)) for run, *rest in rows_of(session, query, change.run_id, run_ids))


def _packages(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    link = RunInputPackage
    query = sa.select(link.run_id, link.raw_data_package_id, link.checksum).order_by(link.raw_data_package_id)
    return _by_run((run, PackageRead(*rest)) for run, *rest in rows_of(session, query, link.run_id, run_ids))


def _products(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    link = RunInputProduct
    query = sa.select(link.run_id, link.data_product_id, link.sha256).order_by(link.data_product_id)
    return _by_run((run, ProductRead(*rest)) for run, *rest in rows_of(session, query, link.run_id, run_ids))


def _metrics(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    metric = QualityMetric
    columns = (metric.name, metric.value, metric.minimum, metric.maximum, metric.data_product_id)
    query = sa.select(metric.run_id, *columns).order_by(metric.name)
    return _by_run((run, MetricRecord(*rest)) for run, *rest in rows_of(session, query, metric.run_id, run_ids))


def _checks(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    check = QualityCheck
    columns = (check.id, check.name, check.metric, check.value, check.minimum, check.maximum)
    query = (
        sa.select(check.run_id, QualityWaiver, *columns, check.blocking, check.passed)
        .add_columns(check.judged_at, check.superseded_at)
        .outerjoin(QualityWaiver, QualityWaiver.quality_check_id == check.id)
        .order_by(check.id)
    )
    rows = rows_of(session, query, check.run_id, run_ids)
    return _by_run((run, CheckRecord(*(*rest, _waiver(waiver)))) for run, waiver, *rest in rows)


def _waiver(waiver: QualityWaiver | None) -> WaiverRecord | None:
    return None if waiver is None else WaiverRecord(waiver.id, waiver.reason, waiver.waived_by, waiver.waived_at)


def _taints(session: Session, run_ids: Collection[RunId], _: Redaction) -> Found:
    query = sa.select(RunTaint.run_id, RunTaint.package_taint_id).order_by(RunTaint.package_taint_id)
    return _by_run(rows_of(session, query, RunTaint.run_id, run_ids))


_PARTS = {
    "attempts": _attempts,
    "history": _history,
    "packages": _packages,
    "products": _products,
    "metrics": _metrics,
    "checks": _checks,
    "taints": _taints,
}
