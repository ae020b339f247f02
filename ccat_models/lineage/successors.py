"""Which product has superseded another."""

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
    """Return, for products of these runs' sub-groups, the product of the same path that has superseded each of them.

    It is that of the run whose regenerated products replace it, or else that of the next result that is not blocked. A
    blocked product may also be superseded by a later blocked one.
    """
    cells = defaultdict[tuple[StepId, SubGroupId], dict[RunId, _Completed]](dict)
    for run in _completed(session, run_ids):
        cells[run.step_id, run.sub_group_id][run.id] = run
    made = _products(session, [run_id for runs in cells.values() for run_id in runs])
    return {product: by for runs in cells.values() for product, by in _superseded(list(runs.values()), made)}


def _superseded(runs: Sequence[_Completed], made: _Made) -> Iterator[tuple[ProductId, ProductId]]:
    """Yield the products of a sub-group's runs (oldest first) that have a successor, each with its successor."""
    usable, results = dict[str, ProductId](), dict[str, ProductId]()
    for run in reversed(runs):
        counts, own = run.is_result and not run.blocked, made.get(run.id, {})
        instead = {} if run.replaced_by is None else made.get(run.replaced_by, {})
        for path, product in own.items():
            by = instead.get(path) or usable.get(path) or (None if counts else results.get(path))
            if by is not None:
                yield product, by
        usable.update(own if counts else {})
        results.update(own if run.is_result else {})


def _completed(session: Session, run_ids: Collection[RunId]) -> Iterator[_Completed]:
    for chunk in chunks(run_ids):
        sub_groups = sa.select(Run.step_id, Run.sub_group_id).where(Run.id.in_(chunk)).distinct().subquery()
        here = sa.and_(sub_groups.c.step_id == Run.step_id, sub_groups.c.sub_group_id == Run.sub_group_id)
        query = (
            sa.select(Run.step_id, Run.sub_group_id, Run.id, Run.is_result, is_blocked(Run.id))
            .add_columns(RunSpace.replaced_by_run_id)
            .join(sub_groups, here)
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
