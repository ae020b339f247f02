"""Asset checks with fixed names, so that they stand before any run has left a metric."""

import warnings
from collections.abc import Iterator

import dagster as dg

from ccat_assets.attempt_files import Files, size_inside, size_of
from ccat_assets.metadata import Metadata, table
from ccat_assets.run_report import ProductReport, RunReport
from ccat_models.tables.products import QualityMetric
from resources.attempt_store import Wanted
from resources.errors import AskAgain

PRODUCTS_PRESENT = "products_present"
QA_WITHIN_LIMITS = "qa_within_limits"
_DESCRIPTIONS = {
    PRODUCTS_PRESENT: "Every registered product lies where its copy is registered, with its size.",
    QA_WITHIN_LIMITS: "Every quality metric keeps the limits that the program gave it.",
}
_SHOWN = 20


def check_specs(asset_key: dg.AssetKey, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Return the checks of a step's asset, one result a sub-group; they hold nothing back."""
    with warnings.catch_warnings():
        # `partitions_def` is a preview in Dagster 1.13: without it a check shows its last result alone.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(name, asset=asset_key, description=description, partitions_def=partitions)
            for name, description in _DESCRIPTIONS.items()
        ]


def files_checked(report: RunReport) -> Iterator[tuple[int | None, Wanted]]:
    """Yield the files whose sizes the checks of a run look at, each with its data location."""
    for one in report.products:
        if one.root is not None and not one.purged:
            yield one.location_id, size_of(one.root, one.path)


def evaluations(report: RunReport, files: Files | None = None) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the results of both checks for a run that completed."""
    yield _products_present(report, files or Files())
    yield _qa_within_limits(report)


def _products_present(report: RunReport, files: Files) -> dg.AssetCheckEvaluation:
    looked_at = [product for product in report.products if not product.purged]
    try:
        missing = [(product.product.path, finding) for product in looked_at if (finding := _absence(product, files))]
    except AskAgain as error:
        return _unknown(report, f"could not be looked at: {error}")
    metadata: Metadata = {
        "products": dg.MetadataValue.int(len(looked_at)),
        "purged": dg.MetadataValue.int(len(report.products) - len(looked_at)),
    }
    if missing:
        metadata["missing"] = table({"path": "string", "finding": "string"}, missing[:_SHOWN])
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([report.pipeline, report.run.step.name]),
        check_name=PRODUCTS_PRESENT,
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(missing)} of {len(looked_at)} products are not what was registered" if missing else None,
        metadata=metadata,
        partition=report.key,
    )


def _unknown(report: RunReport, why: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([report.pipeline, report.run.step.name]),
        check_name=PRODUCTS_PRESENT,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=why,
        partition=report.key,
    )


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
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([report.pipeline, report.run.step.name]),
        check_name=QA_WITHIN_LIMITS,
        passed=not outside,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"outside their limits: {', '.join(outside[:_SHOWN])}" if outside else None,
        metadata=metadata,
        partition=report.key,
    )


def _worst_first(metric: QualityMetric) -> tuple[bool, str]:
    return metric.within_limits, metric.name
