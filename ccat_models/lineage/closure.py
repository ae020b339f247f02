from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.base import PackageId, ProductId, RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import (
    Pipeline,
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStep,
    SubGroup,
)
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage


@dataclass(frozen=True)
class RunNode:
    """A run in a lineage: what was done, by which software, in how far back a generation."""

    id: RunId
    pipeline: str
    step: str
    sub_group: str
    software: str
    version: str
    digest: str | None


@dataclass(frozen=True)
class FileNode:
    """A raw file of a package."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class PackageNode:
    """A raw data package with its files, and the checksum that the run read."""

    id: PackageId
    name: str
    checksum: str
    files: tuple[FileNode, ...]


@dataclass(frozen=True)
class Lineage:
    """Everything that a run's products were made from, back to the raw files."""

    root: RunId
    runs: Mapping[RunId, RunNode]
    producers: Mapping[RunId, tuple[RunId, ...]]  # run → the runs whose products it read
    packages: Mapping[RunId, tuple[PackageNode, ...]]  # run → the packages it read


def lineage_of(session: Session, run_id: RunId) -> Lineage:
    """Return the lineage of a run in a constant number of queries, whatever its depth."""
    closure = _closure(run_id)
    return Lineage(
        root=run_id,
        runs=_runs(session, closure),
        producers=_producers(session, closure),
        packages=_packages(session, closure),
    )


def producer_of(session: Session, product_id: ProductId) -> RunId | None:
    """Return the run that made a product."""
    return session.scalar(sa.select(DataProduct.run_id).where(DataProduct.id == product_id))


def _closure(run_id: RunId) -> sa.CTE:
    start = sa.select(Run.id.label("run_id")).where(Run.id == run_id).cte("closure", recursive=True)
    # UNION, not UNION ALL: a run that is reached on many paths is followed once.
    return start.union(sa.select(RunInputProduct.producer_run_id).join(start, start.c.run_id == RunInputProduct.run_id))


def _runs(session: Session, closure: sa.CTE) -> dict[RunId, RunNode]:
    version = ReductionSoftwareVersion
    query = (
        sa.select(Run.id, Pipeline.name, ReductionStep.name, SubGroup.key, ReductionSoftware.name, version.version)
        .add_columns(sa.func.coalesce(version.image_sha256, version.code_sha256))
        .join(closure, closure.c.run_id == Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .join(version, version.id == Run.software_version_id)
        .join(ReductionSoftware, ReductionSoftware.id == version.software_id)
    )
    return {row[0]: RunNode(*row) for row in session.execute(query).tuples()}


def _producers(session: Session, closure: sa.CTE) -> dict[RunId, tuple[RunId, ...]]:
    links = (
        sa.select(RunInputProduct.run_id, RunInputProduct.producer_run_id)
        .join(closure, closure.c.run_id == RunInputProduct.run_id)
        .distinct()
        .order_by(RunInputProduct.run_id, RunInputProduct.producer_run_id)
    )
    producers: dict[RunId, list[RunId]] = defaultdict(list)
    for run_id, producer in session.execute(links).tuples():
        producers[run_id].append(producer)
    return {run_id: tuple(found) for run_id, found in producers.items()}


def _packages(session: Session, closure: sa.CTE) -> dict[RunId, tuple[PackageNode, ...]]:
    read = sa.select(RunInputPackage).join(closure, closure.c.run_id == RunInputPackage.run_id).subquery()
    files: dict[PackageId, list[FileNode]] = defaultdict(list)
    wanted = sa.select(read.c.raw_data_package_id)
    for file in session.scalars(
        sa.select(RawDataFile).where(RawDataFile.raw_data_package_id.in_(wanted)).order_by(RawDataFile.path)
    ):
        files[file.raw_data_package_id].append(FileNode(file.path, file.sha256, file.size_bytes))
    query = (
        sa.select(read.c.run_id, RawDataPackage.id, RawDataPackage.name, read.c.checksum)
        .join(RawDataPackage, RawDataPackage.id == read.c.raw_data_package_id)
        .order_by(read.c.run_id, RawDataPackage.name)
    )
    packages: dict[RunId, list[PackageNode]] = defaultdict(list)
    for run_id, package_id, name, checksum in session.execute(query).tuples():
        packages[run_id].append(PackageNode(package_id, name, checksum, tuple(files[package_id])))
    return {run_id: tuple(found) for run_id, found in packages.items()}
