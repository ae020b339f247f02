"""Everything that is published about runs, read for a whole batch in a constant number of queries."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from ccat_models.lineage.taint import TaintRow, taints_of
from ccat_models.product.quality import CheckRow, checks_of, metrics_of
from ccat_models.run.whole import last_attempts, whole_runs
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.observation import ExecutedObsUnit
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.places import READABLE, DataProductPhysicalCopy, DiskDataLocation, PhysicalCopyStatus
from ccat_models.tables.products import DataProduct, QualityMetric
from ccat_models.tables.raw_data import RawDataPackage

ROWS_SHOWN = 50  # of packages and upstream runs

_GROUPING = joinedload(Run.step).joinedload(ReductionStep.pipeline).joinedload(Pipeline.data_grouping)

T = TypeVar("T")


@dataclass(frozen=True)
class ProductReport:
    """A product, and where a copy of it is on a disk that can be read: `path` below `root`, None for no copy."""

    product: DataProduct
    root: Path | None
    path: str
    location_id: int | None  # whose disk that is
    host: str  # "" for this machine
    purged: bool  # it is being removed, or was; its lineage and checksum stay


@dataclass(frozen=True)
class UpstreamReport:
    """A run whose products were read."""

    pipeline: str
    step: str
    sub_group: str
    run_id: RunId


@dataclass(frozen=True)
class PackageReport:
    """A raw data package that was read, with the checksum it had then."""

    name: str
    checksum: str
    executed_obs_unit: str


@dataclass(frozen=True)
class Inputs(Generic[T]):
    """The first of a run's inputs, and how many there are in all."""

    shown: tuple[T, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class RunReport:
    """A run with its inputs and its products.

    Unlike a `RunBriefing` it counts the inputs and has only the first of them: some hundred runs are read at once.
    """

    run: Run
    pipeline: str
    grouping: str
    revision: int
    attempt: Attempt | None
    products: tuple[ProductReport, ...]
    metrics: tuple[QualityMetric, ...]
    checks: tuple[CheckRow, ...]
    taints: tuple[TaintRow, ...]  # of its inputs, that are not lifted
    packages: Inputs[PackageReport]
    upstream: Inputs[UpstreamReport]

    @property
    def location_id(self) -> int:
        """Return the data location that the run's attempts work at."""
        return self.run.step.pipeline.processing_location_id

    @property
    def key(self) -> str:
        """Return the key of the run's sub-group."""
        return self.run.sub_group.key


def read_reports(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, RunReport]:
    """Return the reports of these runs, the oldest first."""
    runs, attempts = whole_runs(session, run_ids, _GROUPING), last_attempts(session, run_ids)
    products, metrics = _products(session, run_ids), _metrics(session, run_ids)
    packages, upstream = _packages(session, run_ids), _upstream(session, run_ids)
    checks, taints = checks_of(session, run_ids), taints_of(session, run_ids)
    return {
        run.id: RunReport(
            run=run,
            pipeline=run.step.pipeline.name,
            grouping=run.step.pipeline.data_grouping.name,
            revision=run.step_revision.pipeline_revision.number,
            attempt=attempts.get(run.id),
            products=tuple(products[run.id]),
            metrics=tuple(metrics[run.id]),
            checks=tuple(checks[run.id]),
            taints=tuple(taint for taint in taints[run.id] if taint.lifted_at is None),
            packages=packages.get(run.id, Inputs()),
            upstream=upstream.get(run.id, Inputs()),
        )
        for run in runs.values()
    }


def _products(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[ProductReport]]:
    copy = DataProductPhysicalCopy
    processing = DiskDataLocation.id == Pipeline.processing_location_id
    readable = sa.and_(DiskDataLocation.id == copy.data_location_id, sa.or_(DiskDataLocation.host == "", processing))
    query = (
        sa.select(DataProduct, copy.path, copy.status, DiskDataLocation)
        .join(Run, Run.id == DataProduct.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .outerjoin(copy, copy.data_product_id == DataProduct.id)
        .outerjoin(DiskDataLocation, readable)
        .where(DataProduct.run_id.in_(run_ids))
        .order_by(DataProduct.run_id, DataProduct.path, DiskDataLocation.id.desc())
    )
    products: dict[RunId, dict[str, ProductReport]] = defaultdict(dict)
    for product, path, status, disk in session.execute(query).tuples():
        purged, there = _is_purged(status), disk is not None and status in READABLE
        known = products[product.run_id].get(product.path)
        if there or known is None or (known.purged and not purged):
            report = _report(product, path or "", disk if there else None, purged=purged)
            products[product.run_id][product.path] = report
    return defaultdict(list, {run_id: list(found.values()) for run_id, found in products.items()})


def _report(product: DataProduct, path: str, disk: DiskDataLocation | None, *, purged: bool) -> ProductReport:
    if disk is None:
        return ProductReport(product, None, path, None, "", purged)
    return ProductReport(product, Path(disk.path), path, disk.id, disk.host, purged)


def _is_purged(status: PhysicalCopyStatus | None) -> bool:
    return status is not None and status not in READABLE


def _metrics(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[QualityMetric]]:
    metrics: dict[RunId, list[QualityMetric]] = defaultdict(list)
    for metric in metrics_of(session, run_ids):
        metrics[metric.run_id].append(metric)
    return metrics


def _packages(session: Session, run_ids: Sequence[RunId]) -> Mapping[RunId, Inputs[PackageReport]]:
    read, package = RunInputPackage, RawDataPackage
    ranked = (
        sa.select(read.run_id, package.name, read.checksum, *_counted(read.run_id, package.name))
        .add_columns(ExecutedObsUnit.name.label("executed_obs_unit"))
        .join(package, package.id == read.raw_data_package_id)
        .join(ExecutedObsUnit, ExecutedObsUnit.id == package.executed_obs_unit_id)
        .where(read.run_id.in_(run_ids))
        .subquery()
    )
    found: dict[RunId, Inputs[PackageReport]] = {}
    query = sa.select(ranked).where(ranked.c.place <= ROWS_SHOWN).order_by(ranked.c.run_id, ranked.c.place)
    for row in session.execute(query):
        before = found.get(row.run_id, Inputs())
        one = PackageReport(row.name, row.checksum, row.executed_obs_unit)
        found[row.run_id] = Inputs((*before.shown, one), row.all_of_them)
    return found


def _upstream(session: Session, run_ids: Sequence[RunId]) -> Mapping[RunId, Inputs[UpstreamReport]]:
    read = RunInputProduct
    links = sa.select(read.run_id, read.producer_run_id).where(read.run_id.in_(run_ids)).distinct().subquery()
    ranked = sa.select(links, *_counted(links.c.run_id, links.c.producer_run_id)).subquery()
    query = (
        sa.select(ranked.c.run_id, ranked.c.all_of_them, Pipeline.name, ReductionStep.name, SubGroup.key, Run.id)
        .join(Run, Run.id == ranked.c.producer_run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(ranked.c.place <= ROWS_SHOWN)
        .order_by(ranked.c.run_id, ranked.c.place)
    )
    found: dict[RunId, Inputs[UpstreamReport]] = {}
    for run_id, count, *names in session.execute(query):
        found[run_id] = Inputs((*found.get(run_id, Inputs()).shown, UpstreamReport(*names)), count)
    return found


def _counted(
    run_id: sa.SQLColumnExpression[RunId], order: sa.SQLColumnExpression[object]
) -> tuple[sa.Label[int], sa.Label[int]]:
    place = sa.func.row_number().over(partition_by=run_id, order_by=order).label("place")
    return place, sa.func.count().over(partition_by=run_id).label("all_of_them")
