"""Reading the parts of a provenance record: products, packages, software, configurations, steps and taints."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from ccat_models.lineage.record import (
    ConfigRecord,
    ProductRecord,
    SoftwareRecord,
    StepRecord,
)
from ccat_models.lineage.record_packages import PackageRecord, RawFileRecord, TaintRecord
from ccat_models.lineage.redaction import Redaction
from ccat_models.lineage.successors import successors_of
from ccat_models.product.listing import of_removable
from ccat_models.tables.base import PackageId, ProductId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import (
    Pipeline,
    PipelineRevision,
    ReductionSoftware,
    ReductionSoftwareVersion,
    ReductionStep,
    ReductionStepConfig,
    ReductionStepDependency,
    ReductionStepRevision,
    SubGroup,
)
from ccat_models.tables.places import READABLE, DataLocation, DataProductPhysicalCopy, DiskDataLocation
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import PackageContent, RawDataFile, RawDataPackage
from ccat_models.tables.space import RunSpace
from ccat_models.tables.taints import PackageTaint

CopiesHere = Mapping[ProductId, tuple[str, str]]
"""Of products the directory of a disk of this machine, and the path below it."""

AT_ONCE = 1000  # numbers in a statement


def rows_of(
    session: Session, query: sa.Select[Any], column: InstrumentedAttribute[Any] | sa.Tuple, ids: Collection[Any]
) -> Iterator[Any]:
    """Yield a query's rows for these values of `column`, a thousand values in a statement."""
    in_order = sorted(ids)
    for first in range(0, len(in_order), AT_ONCE):
        yield from session.execute(query.where(column.in_(in_order[first : first + AT_ONCE])))


def products_of(
    session: Session, run_ids: Collection[int], read: Collection[ProductId]
) -> dict[ProductId, ProductRecord]:
    """Return the products that runs made, and those that they read."""
    query = (
        sa.select(DataProduct, Pipeline.name, ReductionStep.name, SubGroup.key, *of_removable(DataProduct))
        .join(Run, Run.id == DataProduct.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .outerjoin(RunSpace, RunSpace.run_id == Run.id)
    )
    rows = {row[0].id: row for row in rows_of(session, query, DataProduct.run_id, run_ids)}
    rows |= {row[0].id: row for row in rows_of(session, query, DataProduct.id, set(read) - rows.keys())}
    copies, successors = _copies(session, rows), successors_of(session, {row[0].run_id for row in rows.values()})
    return {
        product_id: _product(rows[product_id], copies.get(product_id, []), successors.get(product_id))
        for product_id in sorted(rows)
    }


def _product(row: sa.Row[Any], copies: list[tuple[str, str, bool]], by: ProductId | None) -> ProductRecord:
    product, pipeline, step, key, removed, restored_by = row
    place = next(((location, path) for location, path, readable in copies if readable), (None, None))
    return ProductRecord(
        id=product.id,
        run_id=product.run_id,
        name=f"{pipeline}/{step}/{key}/{product.path}",
        type=product.type,
        path=product.path,
        size_bytes=product.size_bytes,
        sha256=product.sha256,
        created_at=product.created_at,
        location=place[0],
        location_path=place[1],
        purged=bool(copies) and place[0] is None,
        removed=removed,
        restored_by=restored_by,
        superseded_by=by,
    )


def _copies(session: Session, ids: Collection[ProductId]) -> Mapping[ProductId, list[tuple[str, str, bool]]]:
    copy = DataProductPhysicalCopy
    query = (
        sa.select(copy.data_product_id, DataLocation.name, copy.path, copy.status)
        .join(DataLocation, DataLocation.id == copy.data_location_id)
        .order_by(copy.id)
    )
    found = defaultdict[ProductId, list[tuple[str, str, bool]]](list)
    for product_id, location, path, status in rows_of(session, query, copy.data_product_id, ids):
        found[product_id].append((location, path, status in READABLE))
    return found


def copies_here(session: Session, ids: Collection[ProductId]) -> CopiesHere:
    """Return the copies of products that this machine can read."""
    copy = DataProductPhysicalCopy
    query = (
        sa.select(copy.data_product_id, DiskDataLocation.path, copy.path)
        .join(DiskDataLocation, DiskDataLocation.id == copy.data_location_id)
        .where(copy.status.in_(READABLE), DiskDataLocation.host == "", DiskDataLocation.active)
        .order_by(DiskDataLocation.id.desc())
    )
    return {row[0]: (row[1], row[2]) for row in rows_of(session, query, copy.data_product_id, ids)}


def packages_of(
    session: Session, read: Collection[PackageContent], tainted: Collection[PackageId], *, with_files: bool
) -> dict[PackageContent, PackageRecord]:
    """Return raw packages with the contents that were read, and tainted ones with their present content."""
    package = RawDataPackage
    query = (
        sa.select(package.id, package.name, package.state, package.checksum)
        .add_columns(package.created_at, package.archived_at)
        .order_by(package.id)
    )
    ids = {package_id for package_id, _ in read}
    rows = {row.id: row for row in rows_of(session, query, package.id, ids | set(tainted))}
    of_today = {(package_id, rows[package_id].checksum or "") for package_id in set(tainted) - ids}
    contents = sorted(of_today.union(read))
    files = _files(session, contents if with_files else ())
    return {content: _package(rows[content[0]], content[1], tuple(files.get(content, ()))) for content in contents}


def _package(row: sa.Row[Any], checksum: str, files: tuple[RawFileRecord, ...]) -> PackageRecord:
    replaced = row.checksum != (checksum or None)
    return PackageRecord(
        id=row.id,
        name=row.name,
        state=row.state,
        checksum=checksum,
        replaced_by=row.checksum if replaced else None,
        created_at=row.created_at,
        archived_at=None if replaced else row.archived_at,
        files=files,
    )


def _files(session: Session, contents: Collection[PackageContent]) -> Mapping[PackageContent, list[RawFileRecord]]:
    file = RawDataFile
    files = defaultdict[PackageContent, list[RawFileRecord]](list)
    query = sa.select(file.raw_data_package_id, file.package_checksum).order_by(file.path)
    query = query.add_columns(file.id, file.path, file.size_bytes, file.sha256)
    place = sa.tuple_(file.raw_data_package_id, file.package_checksum)
    for package_id, checksum, *columns in rows_of(session, query, place, contents):
        files[package_id, checksum].append(RawFileRecord(*columns))
    return files


def software_of(session: Session, ids: Collection[int], redaction: Redaction) -> dict[int, SoftwareRecord]:
    """Return software versions."""
    version = ReductionSoftwareVersion
    query = sa.select(version, ReductionSoftware).join(ReductionSoftware).order_by(version.id)
    return {
        one.id: SoftwareRecord(
            id=one.id,
            name=program.name,
            version=one.version,
            description=program.description,
            image_reference=None if one.image_reference is None else redaction.of(one.image_reference),
            image_sha256=one.image_sha256,
            command=tuple(redaction.of(word) for word in one.command or ()),
            code_sha256=one.code_sha256,
            created_at=one.created_at,
        )
        for one, program in rows_of(session, query, version.id, ids)
    }


def configs_of(session: Session, ids: Collection[int]) -> dict[int, ConfigRecord]:
    """Return configurations."""
    config = ReductionStepConfig
    query = sa.select(config.id, config.config_hash, config.parameters).order_by(config.id)
    return {row.id: ConfigRecord(*row) for row in rows_of(session, query, config.id, ids)}


def steps_of(session: Session, ids: Collection[int]) -> dict[int, StepRecord]:
    """Return the steps of these revisions."""
    revision, dependency = ReductionStepRevision, ReductionStepDependency
    upstreams = defaultdict[int, list[str]](list)
    links = (
        sa.select(dependency.step_revision_id, ReductionStep.name)
        .join(ReductionStep, ReductionStep.id == dependency.upstream_step_id)
        .order_by(ReductionStep.id)
    )
    for revision_id, name in rows_of(session, links, dependency.step_revision_id, ids):
        upstreams[revision_id].append(name)
    query = (
        sa.select(revision.id, Pipeline.name, ReductionStep.name, PipelineRevision.number, revision.order)
        .add_columns(revision.description, PipelineRevision.applied_by, PipelineRevision.applied_at)
        .join(ReductionStep, ReductionStep.id == revision.step_id)
        .join(PipelineRevision, PipelineRevision.id == revision.pipeline_revision_id)
        .join(Pipeline, Pipeline.id == PipelineRevision.pipeline_id)
        .order_by(revision.id)
    )
    return {row[0]: StepRecord(*(*row, tuple(upstreams[row.id]))) for row in rows_of(session, query, revision.id, ids)}


def taints_with(session: Session, ids: Iterable[int]) -> dict[int, TaintRecord]:
    """Return taints, lifted ones included."""
    taint = PackageTaint
    query = (
        sa.select(taint.id, taint.raw_data_package_id, taint.reason, taint.tainted_by, taint.tainted_at)
        .add_columns(taint.lifted_by, taint.lifted_at)
        .order_by(taint.id)
    )
    return {row.id: TaintRecord(*row) for row in rows_of(session, query, taint.id, set(ids))}
