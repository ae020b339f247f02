"""Judging runs by the quality limits of their step: when a run completes, and again when the limits change."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.values import QualityLimit
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.pipelines import Pipeline, PipelineRevision, ReductionStep, ReductionStepRevision
from ccat_models.tables.products import QualityMetric
from ccat_models.tables.quality import QualityCheck

_IS_CURRENT = QualityCheck.superseded_at.is_(None)
_COLUMNS = ("run_id", "name", "metric", "value", "minimum", "maximum", "blocking", "passed", "judged_at")


def judge_run(session: Session, run_id: RunId, now: datetime) -> None:
    """Judge a run by the current limits of its step; its metrics must have been inserted.

    On PostgreSQL, applying a declaration with other limits then waits for the end of the caller's transaction.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"LOCK TABLE {QualityCheck.__tablename__} IN ROW EXCLUSIVE MODE"))
    for limit in _current_limits(session, run_id):
        session.execute(_results(limit, Run.id == run_id, now))


def judge_again(session: Session, step_id: StepId, limits: Sequence[QualityLimit], now: datetime) -> None:
    """Judge the step's completed runs by new limits; the results of unchanged limits stay.

    The transaction must be one of `OpsDb.request` that judges, so that no run can complete in the meantime.
    """
    runs = sa.select(Run.id).where(Run.step_id == step_id)
    kept = sa.or_(sa.false(), *(_is_of(limit) for limit in limits))
    session.execute(
        sa.update(QualityCheck)
        .where(QualityCheck.run_id.in_(runs), _IS_CURRENT, sa.not_(kept))
        .values(superseded_at=now)
        .execution_options(synchronize_session=False)
    )
    of_step = sa.and_(Run.step_id == step_id, Run.status == RunStatus.COMPLETED, Run.is_result)
    for limit in limits:
        judged = sa.select(sa.literal(1)).where(QualityCheck.run_id == Run.id, QualityCheck.name == limit.check_name)
        session.execute(_results(limit, sa.and_(of_step, ~judged.where(_IS_CURRENT).exists()), now))


def _current_limits(session: Session, run_id: RunId) -> list[QualityLimit]:
    """Return the limits of the run's step, from the pipeline's newest revision that has the step."""
    stored = session.scalar(
        sa.select(ReductionStepRevision.quality)
        .join(Run, Run.step_id == ReductionStepRevision.step_id)
        .join(PipelineRevision, PipelineRevision.id == ReductionStepRevision.pipeline_revision_id)
        .join(ReductionStep, ReductionStep.id == Run.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .where(Run.id == run_id)
        .order_by(PipelineRevision.number.desc())
        .limit(1)
    )
    return [QualityLimit.model_validate(limit) for limit in stored or ()]


def _is_of(limit: QualityLimit) -> sa.ColumnElement[bool]:
    check = QualityCheck
    return sa.and_(
        check.name == limit.check_name,
        check.metric == limit.metric,
        check.minimum.is_not_distinct_from(limit.minimum),
        check.maximum.is_not_distinct_from(limit.maximum),
        check.blocking == limit.blocking,
    )


def _results(limit: QualityLimit, which: sa.ColumnElement[bool], now: datetime) -> sa.Insert:
    """Return the statement that inserts the results of a limit for these runs; a run without the number fails."""
    metric, column = QualityMetric, QualityCheck.__table__.c
    kept: list[sa.ColumnElement[bool]] = [metric.value.is_not(None)]
    if limit.minimum is not None:
        kept.append(metric.value >= limit.minimum)
    if limit.maximum is not None:
        kept.append(metric.value <= limit.maximum)
    constants: dict[str, Any] = limit.model_dump() | {"name": limit.check_name, "judged_at": now}
    values: dict[str, sa.SQLColumnExpression[Any]] = {
        "run_id": Run.id,
        "value": metric.value,
        "passed": sa.func.coalesce(sa.and_(*kept), sa.false()),
        **{name: sa.literal(value, column[name].type) for name, value in constants.items()},
    }
    rows = (
        sa.select(*(values[name] for name in _COLUMNS))
        .select_from(Run)
        .outerjoin(metric, sa.and_(metric.run_id == Run.id, metric.name == limit.metric))
        .where(which)
    )
    return sa.insert(QualityCheck).from_select(_COLUMNS, rows)
