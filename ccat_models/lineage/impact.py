"""What a package, a product, a run, a software version, a configuration or a node has affected."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.lineage.nodes import stream
from ccat_models.lineage.scope import descendants, page
from ccat_models.lineage.start import Start, first_runs
from ccat_models.lineage.validity import Validity, validity
from ccat_models.tables.base import ProductId, RunId, total
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.products import DataProduct, DataProductType

_COUNTED = (Validity.CURRENT, Validity.SUPERSEDED, Validity.BLOCKED, Validity.GONE, Validity.EVIDENCE)


@dataclass(frozen=True)
class StepImpact:
    """The number of a step's affected runs, and of their products by validity (`Validity`)."""

    pipeline: str
    step: str
    runs: int
    current_products: int
    superseded_products: int
    blocked_products: int
    gone_products: int
    evidence_products: int

    @property
    def products(self) -> int:
        """Return the number of affected products."""
        evidence = self.gone_products + self.evidence_products
        return self.current_products + self.superseded_products + self.blocked_products + evidence


@dataclass(frozen=True, slots=True)
class TouchedProduct:
    """An affected product and its validity."""

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
    validity: Validity


def impact_by_step(session: Session, start: Start) -> list[StepImpact]:
    """Return the numbers of affected runs and products, by pipeline and step."""
    touched = page(session, descendants(first_runs(start)))
    made = sa.select(sa.func.count()).where(DataProduct.run_id == Run.id).correlate(Run).scalar_subquery()
    touching = (
        sa.select(Run.step_id, made.label("products"), validity().label("validity"))
        .join(touched, touched.c.run_id == Run.id)
        .subquery()
    )
    sums = (total(sa.case((touching.c.validity == one, touching.c.products), else_=0)) for one in _COUNTED)
    query = (
        sa.select(Pipeline.name, ReductionStep.name, sa.func.count(), *sums)
        .select_from(touching)
        .join(ReductionStep, ReductionStep.id == touching.c.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .group_by(Pipeline.name, ReductionStep.name, ReductionStep.id)
        .order_by(Pipeline.name, ReductionStep.id)
    )
    return [StepImpact(*row) for row in session.execute(query).tuples()]


def touched_products(
    session: Session, start: Start, *, after: ProductId | None = None, limit: int | None = None
) -> Iterator[TouchedProduct]:
    """Yield the products of all affected runs, ordered by id.

    The next page begins `after` the last id of the page before.
    """
    touched = page(session, descendants(first_runs(start)))
    query = (
        sa.select(DataProduct.id, DataProduct.run_id, Pipeline.name, ReductionStep.name, SubGroup.key)
        .add_columns(DataProduct.type, DataProduct.path, DataProduct.size_bytes, DataProduct.sha256)
        .add_columns(DataProduct.created_at, validity())
        .join(touched, touched.c.run_id == DataProduct.run_id)
        .join(Run, Run.id == DataProduct.run_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .order_by(DataProduct.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(DataProduct.id > after)
    return (TouchedProduct(*row) for rows in stream(session, query) for row in rows)
