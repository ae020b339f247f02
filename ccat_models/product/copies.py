"""Registered files: where their copies are, and when these were last verified."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from ccat_models.errors import Refused
from ccat_models.product.listing import find_product
from ccat_models.tables.base import PackageId, ProductId, RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.places import (
    READABLE,
    DataProductPhysicalCopy,
    DiskDataLocation,
    PhysicalCopy,
    PhysicalCopyStatus,
)
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import RunSpace, SpaceState

Owner = TypeVar("Owner", PackageId, ProductId)


@dataclass(frozen=True)
class Selection:
    """Some products: those given by number or by run; or else all, of one pipeline or step if given."""

    product_ids: tuple[ProductId, ...] = ()
    run_ids: tuple[RunId, ...] = ()
    pipeline: str | None = None
    step: str | None = None

    @property
    def is_named(self) -> bool:
        """Say whether products are given by number or by run."""
        return bool(self.product_ids or self.run_ids)


@dataclass(frozen=True)
class Copy:
    """A readable copy on a disk, at `path` below `root`."""

    id: int
    root: str
    path: str


@dataclass(frozen=True)
class Copies:
    """The copies of a package or product; `purged`: there were copies, and none is readable now."""

    readable: tuple[Copy, ...] = ()
    purged: bool = False


@dataclass(frozen=True)
class Removed:
    """What happened to products that were removed: their state, since when, and the run whose products replace them."""

    state: SpaceState
    since: datetime
    replaced_by: RunId | None


@dataclass(frozen=True)
class ProductFile:
    """A product as registered, with its copies, and what happened to it if it was removed."""

    id: ProductId
    pipeline: str
    step: str
    sub_group: str
    path: str
    size_bytes: int
    sha256: str
    removed: Removed | None = None
    copies: Copies = Copies()


def select_named(session: Session, texts: Sequence[str], *, even_none: bool = False) -> Selection:
    """Return the products that texts name: a product's number, PIPELINE/STEP[/SUB_GROUP[/PATH]] or run:ID.

    `find_product` chooses among several runs; without a path all products of the run are selected. Raises as it does,
    and Refused for a run without products, unless it completed and `even_none` is true.
    """
    found = [find_product(session, text) for text in texts]
    for one in found:
        if one.product_id is None:
            _check_products(session, one.run_id, even_none=even_none)
    return Selection(
        product_ids=tuple(one.product_id for one in found if one.product_id is not None),
        run_ids=tuple(one.run_id for one in found if one.product_id is None),
    )


def _check_products(session: Session, run_id: RunId, *, even_none: bool) -> None:
    status = session.get_one(Run, run_id).status
    if even_none and status is RunStatus.COMPLETED:
        return
    if session.scalar(sa.select(DataProduct.id).where(DataProduct.run_id == run_id).limit(1)) is None:
        raise Refused(f"run {run_id}: is {status.value} and has made no products")


def runs_of(selection: Selection) -> sa.Select[tuple[RunId]]:
    """Return a query for the runs that made the selected products."""
    return sa.select(DataProduct.run_id).where(*_is_selected(selection)).distinct()


def makers_of(session: Session, selection: Selection) -> list[RunId]:
    """Return the runs that made the selected products, the oldest first."""
    return sorted(session.scalars(runs_of(selection)))


def products_of(selection: Selection) -> sa.Select[tuple[ProductId, RunId]]:
    """Return a query for the selected products and the runs that made them."""
    return sa.select(DataProduct.id, DataProduct.run_id).where(*_is_selected(selection))


def count_and_size(session: Session, selection: Selection) -> tuple[int, int]:
    """Return the number of the selected products, and their bytes."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(DataProduct.size_bytes), 0))
    count, size = session.execute(query.where(*_is_selected(selection))).one()
    return int(count), int(size)


def product_page(
    session: Session, selection: Selection, location_id: int, *, after: ProductId | None, limit: int
) -> list[ProductFile]:
    """Return the next `limit` selected products with a number greater than `after`, with their copies."""
    query = (
        sa.select(DataProduct.id, Pipeline.name, ReductionStep.name, SubGroup.key)
        .add_columns(DataProduct.path, DataProduct.size_bytes, DataProduct.sha256)
        .add_columns(RunSpace.state, RunSpace.changed_at, RunSpace.replaced_by_run_id)
        .join(Run, Run.id == DataProduct.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .outerjoin(RunSpace, sa.and_(RunSpace.run_id == Run.id, _was_removed()))
        .where(DataProduct.id > (after or 0), *_is_selected(selection))
        .order_by(DataProduct.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    copies = copies_of(session, PhysicalCopy.data_product_id, [row.id for row in rows], location_id)
    return [_file(row, copies.get(row.id, Copies())) for row in rows]


def _was_removed() -> sa.ColumnElement[bool]:
    return sa.and_(RunSpace.state != SpaceState.PRESENT, DataProduct.type.in_(REMOVABLE_TYPES))


def _file(row: sa.Row[Any], copies: Copies) -> ProductFile:
    *_, state, since, by = row
    removed = None if state is None else Removed(state, since, by)
    return replace(ProductFile(*row[:7]), removed=removed, copies=copies)


def find_registered(session: Session, product_id: ProductId) -> DataProduct | None:
    """Return the product that has this number."""
    return session.get(DataProduct, product_id)


def disk_copies(session: Session, product_id: ProductId) -> Sequence[tuple[str, PhysicalCopyStatus, str, str]]:
    """Return a product's copies on disks: path, status, directory and host of the disk; those here come first."""
    copy = DataProductPhysicalCopy
    query = (
        sa.select(copy.path, copy.status, DiskDataLocation.path, DiskDataLocation.host)
        .join(DiskDataLocation, DiskDataLocation.id == copy.data_location_id)
        .where(copy.data_product_id == product_id)
        .order_by(DiskDataLocation.host, DiskDataLocation.id)
    )
    return session.execute(query).tuples().all()


def copies_of(
    session: Session, owner: InstrumentedAttribute[Owner | None], ids: Collection[Owner], location_id: int
) -> Mapping[Owner, Copies]:
    """Return the copies of products or packages; `owner` is the column of PhysicalCopy that refers to them.

    Readable are copies on active disks of the processing location's host.
    """
    disk, host = DiskDataLocation, sa.select(DiskDataLocation.host).where(DiskDataLocation.id == location_id)
    near = sa.and_(disk.active, disk.host == sa.func.coalesce(host.scalar_subquery(), ""))
    query = (
        sa.select(owner, PhysicalCopy.id, PhysicalCopy.path, PhysicalCopy.status, sa.case((near, disk.path)))
        .join(disk, disk.id == PhysicalCopy.data_location_id, isouter=True)
        .where(owner.in_(ids))
        .order_by(owner, PhysicalCopy.id)
    )
    readable: dict[Owner, list[Copy]] = defaultdict(list)
    purged: dict[Owner, bool] = {}
    for of, copy_id, path, status, root in session.execute(query).tuples():
        if of is None:
            continue
        purged[of] = purged.get(of, True) and status not in READABLE
        if root is not None and status in READABLE:
            readable[of].append(Copy(copy_id, root, path))
    return {of: Copies(tuple(readable[of]), gone) for of, gone in purged.items()}


def record_verified(session: Session, copy_ids: Collection[int], now: datetime) -> None:
    """Record that copies agree with their checksums; copies that are no longer readable are left as they are."""
    _set_verified(session, copy_ids, now)


def record_unverified(session: Session, copy_ids: Collection[int]) -> None:
    """Record that copies were found to differ from their checksums: a purge must not rely on them."""
    _set_verified(session, copy_ids, None)


def _set_verified(session: Session, copy_ids: Collection[int], at: datetime | None) -> None:
    if copy_ids:
        session.execute(
            sa.update(PhysicalCopy)
            .where(PhysicalCopy.id.in_(copy_ids), PhysicalCopy.status.in_(READABLE))
            .values(checksum_verified_at=at)
            .execution_options(synchronize_session=False)
        )


def _is_selected(selection: Selection) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if selection.is_named:
        named = sa.or_(DataProduct.id.in_(selection.product_ids), DataProduct.run_id.in_(selection.run_ids))
        conditions.append(named)
    if selection.pipeline is not None:
        runs = (
            sa.select(Run.id)
            .join(ReductionStep, ReductionStep.id == Run.step_id)
            .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
            .where(Run.id == DataProduct.run_id, Pipeline.name == selection.pipeline)
        )
        if selection.step is not None:
            runs = runs.where(ReductionStep.name == selection.step)
        # Not `run_id IN`: each page would sort all following rows.
        conditions.append(runs.correlate(DataProduct).exists())
    return conditions
