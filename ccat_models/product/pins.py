"""Pins: products that are kept, regardless of their step's retention, until they are unpinned."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.product.copies import Selection, products_of, runs_of
from ccat_models.tables.base import RunId, total
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.insert import insert_or_ignore
from ccat_models.tables.lengths import check_fits
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.products import DataProduct
from ccat_models.tables.space import ProductPin, RunSpace, SpaceState


@dataclass(frozen=True)
class Pinned:
    """How many products were pinned now, how many had been before, and which of their runs were purged or replaced."""

    pinned: int
    already: int
    not_there: dict[RunId, SpaceState]


@dataclass(frozen=True)
class PinRow:
    """The products of a run that were pinned at one time."""

    run_id: RunId
    pipeline: str
    step: str
    sub_group: str
    state: SpaceState | None
    products: int
    size_bytes: int
    reason: str
    pinned_by: str
    pinned_at: datetime


def pin(session: Session, selection: Selection, *, reason: str, by: str, now: datetime) -> Pinned:
    """Pin products; those that are pinned already keep their reason. Raises InvalidDeclaration for too long a reason.

    It must be called in a request's transaction, so that no purge decides at the same time.
    """
    check_fits("reason", reason, ProductPin.reason)
    check_fits("by", by, ProductPin.pinned_by)
    wanted = products_of(selection).subquery()
    constants = {"reason": reason, "pinned_by": by, "pinned_at": now}
    columns = ProductPin.__table__.c
    rows = sa.select(
        wanted.c.id, wanted.c.run_id, *(sa.literal(value, columns[name].type) for name, value in constants.items())
    ).where(wanted.c.id.not_in(sa.select(ProductPin.data_product_id).where(ProductPin.unpinned_at.is_(None))))
    before = _count(session, selection)
    names = ["data_product_id", "run_id", *constants]
    session.execute(insert_or_ignore(session, ProductPin).from_select(names, rows))
    gone = sa.select(RunSpace.run_id, RunSpace.state).where(
        RunSpace.run_id.in_(runs_of(selection)), RunSpace.state != SpaceState.PRESENT
    )
    pinned = _count(session, selection) - before
    return Pinned(pinned, before, dict(session.execute(gone).tuples().all()))


def unpin(session: Session, selection: Selection, *, by: str, now: datetime) -> int:
    """Unpin products, so that their step's retention applies again; return how many were pinned."""
    check_fits("by", by, ProductPin.unpinned_by)
    done = session.execute(
        sa.update(ProductPin)
        .where(*_active_pins(selection))
        .values(unpinned_by=by, unpinned_at=now)
        .execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def list_pins(session: Session) -> list[PinRow]:
    """Return the pins, the newest first: one row for each run, reason and time."""
    kept: tuple[Any, ...] = (ProductPin.reason, ProductPin.pinned_by, ProductPin.pinned_at)
    of: tuple[Any, ...] = (ProductPin.run_id, Pipeline.name, ReductionStep.name, SubGroup.key, RunSpace.state)
    size = total(DataProduct.size_bytes)
    query = (
        sa.select(*of, sa.func.count(), size, *kept)
        .select_from(ProductPin)
        .join(DataProduct, DataProduct.id == ProductPin.data_product_id)
        .join(Run, Run.id == ProductPin.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .outerjoin(RunSpace, RunSpace.run_id == ProductPin.run_id)
        .where(ProductPin.unpinned_at.is_(None))
        .group_by(*of, *kept)
        .order_by(ProductPin.pinned_at.desc(), ProductPin.run_id.desc())
    )
    return [PinRow(*row) for row in session.execute(query).tuples()]


def _count(session: Session, selection: Selection) -> int:
    return session.scalar(sa.select(sa.func.count()).where(*_active_pins(selection))) or 0


def _active_pins(selection: Selection) -> tuple[sa.ColumnElement[bool], ...]:
    products = products_of(selection).subquery()
    return ProductPin.data_product_id.in_(sa.select(products.c.id)), ProductPin.unpinned_at.is_(None)
