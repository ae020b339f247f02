"""The scope of a provenance record: finding it by a text, and the runs that belong to it."""

import sys
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.errors import NotFound
from ccat_models.lineage.record import RecordScope, ScopeKind
from ccat_models.lineage.scope import ancestors
from ccat_models.product.listing import find_product
from ccat_models.run.listing import find_run
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputProduct
from ccat_models.tables.pipelines import Pipeline, ReductionStep


def find_scope(session: Session, text: str) -> RecordScope:
    """Return the scope that a text names: a product's number or path, run:ID or pipeline:NAME.

    Raises NotFound with known names, InvalidDeclaration for a run that is not given by its number.
    """
    kind, colon, name = text.partition(":")
    if colon and kind == ScopeKind.RUN.value:
        return _run_scope(session, name)
    if colon and kind == ScopeKind.PIPELINE.value:
        return pipeline_scope(session, name)
    found = find_product(session, text)
    return RecordScope(ScopeKind.PRODUCT, text, _pipeline_of(session, found.run_id), found.run_id, found.product_id)


def pipeline_scope(session: Session, name: str) -> RecordScope:
    """Return the scope of a pipeline; raise NotFound with the known names."""
    known = session.scalars(sa.select(Pipeline.name).order_by(Pipeline.name)).all()
    if name not in known:
        raise NotFound("pipeline", name, list(known))
    return RecordScope(ScopeKind.PIPELINE, name, name)


def _run_scope(session: Session, text: str) -> RecordScope:
    run_id = find_run(session, text)
    return RecordScope(ScopeKind.RUN, str(run_id), _pipeline_of(session, run_id), run_id)


def _pipeline_of(session: Session, run_id: RunId) -> str:
    steps = sa.select(Pipeline.name).join(ReductionStep, ReductionStep.pipeline_id == Pipeline.id)
    return session.scalars(steps.join(Run, Run.step_id == ReductionStep.id).where(Run.id == run_id)).one()


def runs_in(session: Session, scope: RecordScope, *, limit: int = sys.maxsize) -> list[RunId]:
    """Return the first `limit` runs of a scope, ordered by id.

    The lineage of a product includes the earlier runs of its sub-groups, whatever their status, with what those read,
    and the runs that regenerated any of these.
    """
    if scope.kind is ScopeKind.PIPELINE:
        return next(run_chunks(session, scope.name, limit), [])
    if scope.run_id is None or scope.kind is ScopeKind.RUN:
        return [] if scope.run_id is None else [scope.run_id]
    lineage, later = ancestors(scope.run_id), aliased(Run)
    earlier = (
        sa.select(Run.id.label("run_id"))
        .join(later, sa.and_(later.step_id == Run.step_id, later.sub_group_id == Run.sub_group_id, later.id >= Run.id))
        .join(lineage, lineage.c.run_id == later.id)
        .cte("with_earlier", recursive=True)
    )
    # UNION, not UNION ALL: a run that is reached on many paths is followed once.
    whole = earlier.union(
        sa.select(RunInputProduct.producer_run_id).join(earlier, earlier.c.run_id == RunInputProduct.run_id)
    )
    again = sa.select(whole.c.run_id).cte("with_again", recursive=True)
    again = again.union(sa.select(Run.id).join(again, again.c.run_id == Run.regenerates_run_id))
    return list(session.scalars(sa.select(again.c.run_id).order_by(again.c.run_id).limit(limit)))


def run_chunks(session: Session, pipeline: str, size: int) -> Iterator[list[RunId]]:
    """Yield the runs of a pipeline, ordered by id, in portions of `size`."""
    query = (
        sa.select(Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .where(Pipeline.name == pipeline)
        .order_by(Run.id)
        .limit(size)
    )
    found = list(session.scalars(query))
    while found:
        yield found
        found = list(session.scalars(query.where(Run.id > found[-1])))
