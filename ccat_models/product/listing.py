from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import NotFound
from ccat_models.gap.blocked import is_blocked
from ccat_models.run.listing import find_run
from ccat_models.tables.base import ProductId, RunId, number_in
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.gaps import PackageChange, SubGroupChange, SubGroupGap
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct, DataProductType
from ccat_models.tables.space import RunSpace, SpaceState

_RUN = "run:"


@dataclass(frozen=True)
class ProductRow:
    """A product as it is listed; `removed` is None while it exists."""

    id: ProductId
    run_id: RunId
    pipeline: str
    step: str
    sub_group: str
    type: DataProductType
    path: str
    size_bytes: int
    sha256: str
    created_at: datetime
    removed: SpaceState | None
    restored_by: RunId | None  # the run that regenerated it last


def of_removable(product: type[DataProduct]) -> tuple[sa.ColumnElement[SpaceState], sa.ColumnElement[RunId]]:
    """Return a product's state after removal and the run that regenerated it; `RunSpace` must be joined to its run."""
    removable = product.type.in_(REMOVABLE_TYPES)
    state = sa.case((sa.and_(removable, RunSpace.state != SpaceState.PRESENT), RunSpace.state))
    return state, sa.case((removable, RunSpace.restored_by_run_id))


def list_products(
    session: Session,
    *,
    pipeline: str | None = None,
    step: str | None = None,
    sub_group: str | None = None,
    kind: DataProductType | None = None,
    run_id: RunId | None = None,
    limit: int | None = None,
) -> list[ProductRow]:
    """Return the newest `limit` products that match all given values, the newest first."""
    query = (
        sa.select(DataProduct.id, DataProduct.run_id, Pipeline.name, ReductionStep.name, SubGroup.key)
        .add_columns(DataProduct.type, DataProduct.path, DataProduct.size_bytes, DataProduct.sha256)
        .add_columns(DataProduct.created_at, *of_removable(DataProduct))
        .join(Run, Run.id == DataProduct.run_id)
        .outerjoin(RunSpace, RunSpace.run_id == Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .order_by(DataProduct.run_id.desc(), DataProduct.path)
        .limit(limit)
    )
    wanted = {
        Pipeline.name: pipeline,
        ReductionStep.name: step,
        SubGroup.key: sub_group,
        DataProduct.type: kind,
        DataProduct.run_id: run_id,
    }
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    return [ProductRow(*row) for row in session.execute(query).tuples()]


def products_of_runs(session: Session, run_ids: Collection[RunId]) -> Sequence[DataProduct]:
    """Return the products that runs have made as rows, by path."""
    query = sa.select(DataProduct).where(DataProduct.run_id.in_(run_ids)).order_by(DataProduct.path)
    return session.scalars(query).all()


@dataclass(frozen=True)
class FoundProduct:
    """What a text names: one product, or, without `product_id`, all products of a run."""

    run_id: RunId
    product_id: ProductId | None


def find_run_of(session: Session, text: str) -> RunId:
    """Return the run of the products that a text names; see `find_product`."""
    return find_product(session, text).run_id


def find_product(session: Session, text: str) -> FoundProduct:
    """Return what a text names: a product's number, PIPELINE/STEP[/SUB_GROUP[/PATH]] or run:ID, removed or not.

    Of a sub-group's runs the current one is taken: as the last look at gaps found it, or, if there are changes to
    follow, the newest completed run that is not blocked. Of a step's runs the newest completed one is taken. Raises
    NotFound, and InvalidDeclaration for a run that is not given by its number.
    """
    if text.isdecimal():
        return _by_number(session, text)
    if text.startswith(_RUN):
        return FoundProduct(find_run(session, text.removeprefix(_RUN)), None)
    found = session.execute(named_runs(text).limit(1)).tuples().first()
    if found is None:
        raise NotFound("product", text, [f"{p.pipeline}/{p.step}/{p.sub_group}/{p.path}" for p in _examples(session)])
    return FoundProduct(*found)


def is_path(text: str) -> bool:
    """Say whether a text names products by pipeline and step, not by a number."""
    return not (text.isdecimal() or text.startswith(_RUN))


def named_runs(text: str) -> sa.Select[tuple[RunId, ProductId | None]]:
    """Return the completed runs that PIPELINE/STEP[/SUB_GROUP[/PATH]] names, the one of `find_product` first.

    With a path, each is paired with its product at this path.
    """
    parts = text.split("/", 3)
    path = parts[3] if len(parts) > 3 else None
    query = (
        sa.select(Run.id, sa.null() if path is None else DataProduct.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(Run.status == RunStatus.COMPLETED, Run.is_result)
    )
    if len(parts) > 2:  # a sub-group has few runs
        query = query.order_by(_is_current().desc(), is_blocked(Run.id))
    query = query.order_by(Run.id.desc())
    for column, part in zip((Pipeline.name, ReductionStep.name, SubGroup.key), parts, strict=False):
        query = query.where(column == part)
    if path is not None:
        query = query.join(DataProduct, DataProduct.run_id == Run.id).where(DataProduct.path == path)
    return query


def _is_current() -> sa.ColumnElement[bool]:
    gap, noted = SubGroupGap, SubGroupChange
    found = sa.select(sa.literal(1)).where(
        gap.step_id == Run.step_id, gap.sub_group_id == Run.sub_group_id, gap.current_run_id == Run.id
    )
    here = sa.or_(noted.sub_group_id.is_(None), noted.sub_group_id == Run.sub_group_id)
    touched = sa.select(sa.literal(1)).where(noted.step_id == Run.step_id, here)
    followed = sa.not_(sa.or_(touched.correlate(Run).exists(), sa.select(PackageChange.id).exists()))
    return sa.and_(found.correlate(Run).exists(), followed)


def _by_number(session: Session, text: str) -> FoundProduct:
    number = number_in(text)
    wanted = sa.select(DataProduct.run_id).where(DataProduct.id == number)
    run_id = None if number is None else session.scalar(wanted)
    if number is None or run_id is None:
        newest = session.scalars(sa.select(DataProduct.id).order_by(DataProduct.id.desc()).limit(5)).all()
        raise NotFound("product", text, [str(one) for one in newest])
    return FoundProduct(run_id, ProductId(number))


def _examples(session: Session) -> list[ProductRow]:
    return list_products(session, limit=5)
