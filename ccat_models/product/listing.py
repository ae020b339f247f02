from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import NotFound
from ccat_models.tables.base import ProductId, RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.products import DataProduct, DataProductType


@dataclass(frozen=True)
class ProductRow:
    """A product as a list shows it."""

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
    """Return products, the newest first."""
    query = (
        sa.select(DataProduct.id, DataProduct.run_id, Pipeline.name, ReductionStep.name, SubGroup.key)
        .add_columns(DataProduct.type, DataProduct.path, DataProduct.size_bytes, DataProduct.sha256)
        .add_columns(DataProduct.created_at)
        .join(Run, Run.id == DataProduct.run_id)
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


def find_run_of(session: Session, text: str) -> RunId:
    """Return the run that a text names: a product's number, or PIPELINE/STEP[/SUB_GROUP[/PATH]].

    Of several runs the newest completed one is meant. Raises NotFound.
    """
    if text.isdigit():
        run_id = session.scalar(sa.select(DataProduct.run_id).where(DataProduct.id == int(text)))
        if run_id is None:
            newest = session.scalars(sa.select(DataProduct.id).order_by(DataProduct.id.desc()).limit(5)).all()
            raise NotFound("product", text, [str(number) for number in newest])
        return run_id
    parts = text.split("/", 3)
    query = (
        sa.select(Run.id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == Run.sub_group_id)
        .where(Run.status == RunStatus.COMPLETED)
        .order_by(Run.id.desc())
        .limit(1)
    )
    for column, part in zip((Pipeline.name, ReductionStep.name, SubGroup.key), parts, strict=False):
        query = query.where(column == part)
    if len(parts) > 3:
        query = query.where(Run.id.in_(sa.select(DataProduct.run_id).where(DataProduct.path == parts[3])))
    run_id = session.scalar(query)
    if run_id is None:
        raise NotFound("product", text, [f"{p.pipeline}/{p.step}/{p.sub_group}/{p.path}" for p in _examples(session)])
    return run_id


def _examples(session: Session) -> list[ProductRow]:
    return list_products(session, limit=5)
