"""Which product has taken the place of another one."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.gap.blocked import is_blocked
from ccat_models.tables.base import ProductId, RunId, StepId, SubGroupId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.products import DataProduct
from ccat_models.tables.space import RunSpace

_Made = Mapping[RunId, Mapping[str, ProductId]]


class _Completed(NamedTuple):
    step_id: StepId
    sub_group_id: SubGroupId
    id: RunId
    is_result: bool
    blocked: bool
    replaced_by: RunId | None


def successors_of(session: Session, run_ids: Collection[RunId]) -> dict[ProductId, ProductId]:
    """Return by product of these runs' sub-groups that of the same path which has taken its place.

    That is one of the run that made it again, and differently; else of the next run that stands and is not barred. What
    is barred itself may also have been followed by what was barred since.
    """
    cells = defaultdict[tuple[StepId, SubGroupId], dict[RunId, _Completed]](dict)
    for run in _completed(session, run_ids):
        cells[run.step_id, run.sub_group_id][run.id] = run
    made = _products(session, [run_id for runs in cells.values() for run_id in runs])
    return {product: by for runs in cells.values() for product, by in _followed(list(runs.values()), made)}


def _followed(runs: Sequence[_Completed], made: _Made) -> Iterator[tuple[ProductId, ProductId]]:
    """Yield the products of a sub-group's runs, which come oldest first, that have a successor, with that."""
    counting, standing = dict[str, ProductId](), dict[str, ProductId]()
    for run in reversed(runs):
        counts, own = run.is_result and not run.blocked, made.get(run.id, {})
        instead = {} if run.replaced_by is None else made.get(run.replaced_by, {})
        for path, product in own.items():
            by = instead.get(path) or counting.get(path) or (None if counts else standing.get(path))
            if by is not None:
                yield product, by
        counting.update(own if counts else {})
        standing.update(own if run.is_result else {})


def _completed(session: Session, run_ids: Collection[RunId]) -> Iterator[_Completed]:
    for chunk in chunks(run_ids):
        meant = sa.select(Run.step_id, Run.sub_group_id).where(Run.id.in_(chunk)).distinct().subquery()
        here = sa.and_(meant.c.step_id == Run.step_id, meant.c.sub_group_id == Run.sub_group_id)
        query = (
            sa.select(Run.step_id, Run.sub_group_id, Run.id, Run.is_result, is_blocked(Run.id))
            .add_columns(RunSpace.replaced_by_run_id)
            .join(meant, here)
            .outerjoin(RunSpace, RunSpace.run_id == Run.id)
            .where(Run.status == RunStatus.COMPLETED)
            .order_by(Run.id)
        )
        yield from (_Completed(*row) for row in session.execute(query))


def _products(session: Session, run_ids: Sequence[RunId]) -> _Made:
    made = defaultdict[RunId, dict[str, ProductId]](dict)
    for chunk in chunks(run_ids):
        query = sa.select(DataProduct.run_id, DataProduct.path, DataProduct.id).where(DataProduct.run_id.in_(chunk))
        for run_id, path, product_id in session.execute(query).tuples():
            made[run_id][path] = product_id
    return made
