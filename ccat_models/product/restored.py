"""Purged products after their regeneration: equal ones are restored, different ones replace them."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.run.newest import is_newest_completed
from ccat_models.tables.base import ProductId, RunId, total
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.products import INPUT_TYPES, REMOVABLE_TYPES, DataProduct, DataProductType
from ccat_models.tables.space import RunSpace, SpaceState


def record_space(session: Session, run_id: RunId, location_id: int, now: datetime) -> None:
    """Record the space of a run's registered products."""
    removable = DataProduct.type.in_(REMOVABLE_TYPES)
    science = DataProduct.type == DataProductType.SCIENCE
    values = {
        "run_id": Run.id,
        "step_id": Run.step_id,
        "sub_group_id": Run.sub_group_id,
        "data_location_id": sa.literal(location_id),
        "state": sa.literal(SpaceState.PRESENT, RunSpace.state.type),
        "changed_at": sa.literal(now, RunSpace.changed_at.type),
        "last_used_at": sa.literal(now, RunSpace.last_used_at.type),
        "size_bytes": total(sa.func.coalesce(DataProduct.size_bytes, 0)),
        "made_bytes": total(sa.func.coalesce(DataProduct.size_bytes, 0)),
        "removable_bytes": total(sa.case((removable, DataProduct.size_bytes), else_=0)),
        "removable_files": sa.func.count(sa.case((removable, 1))),
        "has_science": sa.func.count(sa.case((science, 1))) > 0,
    }
    rows = (
        sa.select(*values.values())
        .select_from(Run)
        .outerjoin(DataProduct, DataProduct.run_id == Run.id)
        .where(Run.id == run_id)
        .group_by(Run.id)
    )
    session.execute(sa.insert(RunSpace).from_select(list(values), rows))


def is_same(session: Session, first: RunId, made: Mapping[str, str]) -> bool:
    """Say whether regenerated files (path → sha256) equal a run's products, as far as later steps read them."""
    had = sa.select(DataProduct.path, DataProduct.sha256).where(
        DataProduct.run_id == first, DataProduct.type.in_(INPUT_TYPES)
    )
    return dict(session.execute(had).tuples().all()) == dict(made)


def restore(session: Session, first: RunId, again: RunId, directory: str, now: datetime) -> None:
    """Restore a run's purged products from `directory`, where the run `again` has regenerated them."""
    space = session.get_one(RunSpace, first, populate_existing=True, with_for_update=True)
    products = _removable(first)
    path = sa.select(sa.literal(f"{directory}/") + DataProduct.path).where(DataProduct.id == Copy.data_product_id)
    session.execute(
        sa.update(Copy)
        .where(Copy.data_product_id.in_(products), Copy.data_location_id == space.data_location_id)
        .values(path=path.scalar_subquery(), status=PhysicalCopyStatus.PRESENT, checksum_verified_at=now)
        .execution_options(synchronize_session=False)
    )
    space.state, space.changed_at, space.last_used_at = SpaceState.PRESENT, now, now
    space.size_bytes += space.removable_bytes
    space.restored_by_run_id, space.purge_id = again, None
    _clear_outputs(session, again, now)
    session.flush()


def replace_products(session: Session, first: RunId, again: RunId, now: datetime) -> None:
    """Let the products of the run `again`, which differ, replace those of the run that it regenerates.

    For later steps its outputs count as equal, so that products made from the first run's stay up to date. It becomes
    the sub-group's result if the first run was.
    """
    spaces = sa.update(RunSpace).execution_options(synchronize_session=False)
    session.execute(spaces.where(RunSpace.replaced_by_run_id == first).values(replaced_by_run_id=again))
    values = {"state": SpaceState.REPLACED, "replaced_by_run_id": again, "changed_at": now}
    session.execute(spaces.where(RunSpace.run_id == first).values(values))
    columns = ("output_count", *(f"output_lane_{i}" for i in range(3)))
    outputs = sa.select(*(getattr(Run, name) for name in columns), is_newest_completed())
    had = session.execute(outputs.where(Run.id == first)).one()
    is_result = bool(had[-1])
    values = dict(zip(columns, had, strict=False)) | {"is_result": is_result}
    if not is_result:
        values["published_at"] = now
    session.execute(sa.update(Run).where(Run.id == again).values(values).execution_options(synchronize_session=False))


def _clear_outputs(session: Session, again: RunId, now: datetime) -> None:
    nothing = {"output_count": 0, **{f"output_lane_{i}": 0 for i in range(3)}}
    session.execute(
        sa.update(Run)
        .where(Run.id == again)
        .values(is_result=False, published_at=now, **nothing)
        .execution_options(synchronize_session=False)
    )


def _removable(run_id: RunId) -> sa.Select[tuple[ProductId]]:
    return sa.select(DataProduct.id).where(DataProduct.run_id == run_id, DataProduct.type.in_(REMOVABLE_TYPES))
