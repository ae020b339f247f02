"""Checking the recorded space of runs against their products and copies, and correcting it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.product.restored import record_space
from ccat_models.tables.base import RunId, total
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.places import ON_DISK
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.products import REMOVABLE_TYPES, DataProduct
from ccat_models.tables.space import RunSpace


def wrong_accounts(session: Session, location_id: int) -> dict[RunId, tuple[int | None, int]]:
    """Return the runs whose recorded space is wrong: run → (recorded bytes, None for no record; correct bytes)."""
    real = _real(location_id).subquery()
    kept = RunSpace.__table__.c
    names = [column.name for column in real.c if column.name != "run_id"]
    differs = sa.or_(RunSpace.run_id.is_(None), *(kept[name] != real.c[name] for name in names))
    query = (
        sa.select(real.c.run_id, RunSpace.size_bytes, real.c.size_bytes)
        .outerjoin(RunSpace, RunSpace.run_id == real.c.run_id)
        .join(Run, Run.id == real.c.run_id)
        .where(sa.or_(RunSpace.run_id.is_(None), RunSpace.data_location_id == location_id))
        .where(differs, Run.status == RunStatus.COMPLETED)
        .order_by(real.c.run_id)
    )
    return {run_id: (recorded, size) for run_id, recorded, size in session.execute(query).tuples()}


def correct_accounts(session: Session, location_id: int, run_ids: Collection[RunId], now: datetime) -> None:
    """Set the recorded space of runs to what their products and copies take up."""
    for chunk in chunks(sorted(run_ids)):
        existing = set(session.scalars(sa.select(RunSpace.run_id).where(RunSpace.run_id.in_(chunk)).with_for_update()))
        for run_id in sorted(set(chunk) - existing):
            record_space(session, run_id, location_id, now)
        here = sa.select(RunSpace.run_id).where(RunSpace.run_id.in_(chunk), RunSpace.data_location_id == location_id)
        rows = session.execute(_real(location_id).where(DataProduct.run_id.in_(here))).mappings().all()
        session.execute(sa.update(RunSpace), [dict(row) for row in rows])


def _real(location_id: int) -> sa.Select[Any]:
    removable = DataProduct.type.in_(REMOVABLE_TYPES)
    exists = Copy.status.in_(ON_DISK)
    amounts = {
        "size_bytes": sa.case((exists, DataProduct.size_bytes), else_=0),
        "made_bytes": DataProduct.size_bytes,
        "removable_bytes": sa.case((removable, DataProduct.size_bytes), else_=0),
    }
    sums = [total(amount).label(name) for name, amount in amounts.items()]
    return (
        sa.select(DataProduct.run_id, *sums, sa.func.count(sa.case((removable, 1))).label("removable_files"))
        .join(Copy, Copy.data_product_id == DataProduct.id)
        .where(Copy.data_location_id == location_id)
        .group_by(DataProduct.run_id)
    )
