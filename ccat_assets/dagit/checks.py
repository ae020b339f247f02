"""Asset checks: three that every step has, and one for each quality limit of the step's declaration."""

import warnings
from collections.abc import Collection, Iterator, Sequence

import dagster as dg

from ccat_assets.dagit.attempt_files import Files, size_inside, size_of
from ccat_assets.dagit.metadata import Metadata, table
from ccat_assets.dagit.names import step_key
from ccat_models.lineage.run_report import ProductReport, RunReport
from ccat_models.pipeline.values import RESERVED_CHECKS, QualityLimit
from ccat_models.product.quality import CheckRow
from ccat_models.tables.products import QualityMetric
from resources.errors import TransientError
from resources.workspace.store import Wanted

PRODUCTS_PRESENT, QA_WITHIN_LIMITS, NOT_TAINTED = RESERVED_CHECKS
_DESCRIPTIONS = {
    PRODUCTS_PRESENT: "Every registered product has a file where its copy is registered, of the registered size.",
    QA_WITHIN_LIMITS: "Every quality metric is within the limits that the program gave it.",
    NOT_TAINTED: "No input of the run comes from a tainted raw data package.",
}
_SHOWN = 20


def check_specs(
    asset_key: dg.AssetKey, partitions: dg.PartitionsDefinition[str], limits: Sequence[QualityLimit] = ()
) -> list[dg.AssetCheckSpec]:
    """Return the checks of a step's asset; each has one result for each sub-group.

    None is blocking for Dagster: there, one bad sub-group would block all others of its run. ops-db decides for each
    sub-group alone whether later steps may read its products.
    """
    descriptions = _DESCRIPTIONS | {limit.check_name: _describe(limit) for limit in limits}
    with warnings.catch_warnings():
        # `partitions_def` is a preview in Dagster 1.13: without it a check shows its last result alone.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(name, asset=asset_key, description=description, partitions_def=partitions)
            for name, description in descriptions.items()
        ]


def _describe(limit: QualityLimit) -> str:
    bounds = [f"at least {limit.minimum:g}"] if limit.minimum is not None else []
    bounds += [f"at most {limit.maximum:g}"] if limit.maximum is not None else []
    what = f"{limit.metric} is {' and '.join(bounds)}."
    return f"{what} Later steps do not read products that fail it, until it is waived." if limit.blocking else what


def files_checked(report: RunReport) -> Iterator[tuple[int | None, Wanted]]:
    """Yield the files whose sizes the checks of a run need, each with its data location."""
    for one in report.products:
        if one.root is not None and not one.purged:
            yield one.location_id, size_of(one.root, one.path)


def evaluations(
    report: RunReport, declared: Collection[str] = (), files: Files | None = None
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the results of all checks for a run that completed.

    `declared` are the names of the limits' checks that the asset has; results of other limits are left out.
    """
    yield _products_present(report, files or Files())
    yield _qa_within_limits(report)
    yield from judgements(report, declared)


def judgements(report: RunReport, declared: Collection[str]) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the results that taints, waivers and new declarations may change after a run completed."""
    yield _not_tainted(report)
    yield from (_limit(report, check) for check in report.checks if check.name in declared)


def _not_tainted(report: RunReport) -> dg.AssetCheckEvaluation:
    rows = [(taint.package, taint.reason, taint.tainted_by) for taint in report.taints]
    metadata: Metadata = {"taints": table(dict.fromkeys(("package", "reason", "by"), "string"), rows[:_SHOWN])}
    return _evaluation(
        report,
        NOT_TAINTED,
        passed=not rows,
        description=f"comes from {', '.join(row[0] for row in rows[:_SHOWN])}" if rows else None,
        metadata=metadata if rows else {},
    )


def _limit(report: RunReport, check: CheckRow) -> dg.AssetCheckEvaluation:
    numbers = {"value": check.value, "minimum": check.minimum, "maximum": check.maximum}
    metadata: Metadata = {name: dg.MetadataValue.float(n) for name, n in numbers.items() if n is not None}
    finding = check.finding
    if check.waiver is not None:
        finding = f"waived by {check.waiver.waived_by}: {check.waiver.reason} ({finding})"
        metadata["waived_at"] = dg.MetadataValue.timestamp(check.waiver.waived_at)
    return _evaluation(
        report,
        check.name,
        passed=check.passed or check.waiver is not None,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description=finding,
        metadata=metadata,
    )


def _evaluation(
    report: RunReport,
    name: str,
    *,
    passed: bool,
    description: str | None,
    metadata: Metadata,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=step_key(report.pipeline, report.run.step.name),
        check_name=name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
        partition=report.key,
    )


def _products_present(report: RunReport, files: Files) -> dg.AssetCheckEvaluation:
    looked_at = [product for product in report.products if not product.purged]
    try:
        missing = [(product.product.path, finding) for product in looked_at if (finding := _absence(product, files))]
    except TransientError as error:
        return _unknown(report, f"could not be checked: {error}")
    metadata: Metadata = {
        "products": dg.MetadataValue.int(len(looked_at)),
        "purged": dg.MetadataValue.int(len(report.products) - len(looked_at)),
    }
    if missing:
        metadata["missing"] = table({"path": "string", "finding": "string"}, missing[:_SHOWN])
    return _evaluation(
        report,
        PRODUCTS_PRESENT,
        passed=not missing,
        description=f"{len(missing)} of {len(looked_at)} products are not what was registered" if missing else None,
        metadata=metadata,
    )


def _unknown(report: RunReport, why: str) -> dg.AssetCheckEvaluation:
    warn = dg.AssetCheckSeverity.WARN
    return _evaluation(report, PRODUCTS_PRESENT, passed=False, severity=warn, description=why, metadata={})


def _absence(product: ProductReport, files: Files) -> str | None:
    if product.root is None:
        return "no copy on a disk of this machine"
    size = size_inside(product.root, product.path, files.at(product.location_id, product.host))
    if size is None:
        return f"no regular file {product.root / product.path}"
    registered = product.product.size_bytes
    return None if size == registered else f"{size} bytes, registered with {registered}"


def _qa_within_limits(report: RunReport) -> dg.AssetCheckEvaluation:
    outside = [metric.name for metric in report.metrics if not metric.within_limits]
    rows = [(m.name, m.value, m.minimum, m.maximum, m.within_limits) for m in sorted(report.metrics, key=_worst_first)]
    columns = {"metric": "string", "value": "float", "minimum": "float", "maximum": "float", "kept": "bool"}
    metadata: Metadata = {
        "metrics": dg.MetadataValue.int(len(report.metrics)),
        "outside": dg.MetadataValue.int(len(outside)),
        "limits": table(columns, rows[:_SHOWN]),
    }
    return _evaluation(
        report,
        QA_WITHIN_LIMITS,
        passed=not outside,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"outside their limits: {', '.join(outside[:_SHOWN])}" if outside else None,
        metadata=metadata,
    )


def _worst_first(metric: QualityMetric) -> tuple[bool, str]:
    return metric.within_limits, metric.name
