"""Following links between runs, as SQL: in one statement, each run once."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputProduct
from ccat_models.tables.products import DataProduct

FEW = 500

Scope = sa.FromClause
"""Runs to be looked at, in a column `run_id`."""


def ancestors(run_id: RunId, name: str = "ancestors") -> sa.CTE:
    """Return a run and every run whose products it was made from, directly or not."""
    return ancestors_of(sa.select(Run.id.label("run_id")).where(Run.id == run_id), name)


def ancestors_of(last: sa.Select[Any], name: str = "ancestors") -> sa.CTE:
    """Return the runs that a statement selects as `run_id`, and every run whose products these were made from."""
    start = last.cte(name, recursive=True)
    # UNION, not UNION ALL: a run that is reached on many paths is followed once.
    return start.union(sa.select(RunInputProduct.producer_run_id).join(start, start.c.run_id == RunInputProduct.run_id))


def descendants(first: sa.Select[Any], name: str = "descendants") -> sa.CTE:
    """Return the runs that a statement selects as `run_id`, and every run that read their products, directly or not."""
    start = first.cte(name, recursive=True)
    return start.union(
        sa.select(RunInputProduct.run_id)
        .join(DataProduct, DataProduct.id == RunInputProduct.data_product_id)
        .join(start, start.c.run_id == DataProduct.run_id)
    )


def page(session: Session, scope: Scope, *, after: RunId | None = None, limit: int | None = None) -> Scope:
    """Return the runs ordered by id, from `after` on, at most `limit`.

    Few runs are given as a list of ids, because planners cannot estimate how few a recursive query finds.
    """
    runs = sa.select(scope.c.run_id)
    if after is not None:
        runs = runs.where(scope.c.run_id > after)
    in_order = runs.order_by(scope.c.run_id).limit(limit)
    probe = runs.limit(FEW + 1) if limit is None or limit > FEW else in_order
    found = session.scalars(probe).all()
    return exactly(found) if len(found) <= FEW else in_order.subquery()


def exactly(run_ids: Collection[RunId]) -> sa.Subquery:
    """Return those of the runs that exist."""
    return sa.select(Run.id.label("run_id")).where(Run.id.in_(run_ids)).subquery()
