"""What the quality limits of a step say of its runs: judged once a run completes, and anew when limits change."""

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

_STANDING = QualityCheck.superseded_at.is_(None)
_COLUMNS = ("run_id", "name", "metric", "value", "minimum", "maximum", "blocking", "passed", "judged_at")


def judge_run(session: Session, run_id: RunId, now: datetime) -> None:
    """Judge a run by the limits that are in force; its metrics must stand.

    On PostgreSQL the caller's transaction keeps declarations with other limits waiting from here on.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"LOCK TABLE {QualityCheck.__tablename__} IN ROW EXCLUSIVE MODE"))
    for limit in _limits_in_force(session, run_id):
        session.execute(_results(limit, Run.id == run_id, now))


def judge_anew(session: Session, step_id: StepId, limits: Sequence[QualityLimit], now: datetime) -> None:
    """Judge the step's completed runs by new limits; what an unchanged limit said of them stays.

    The transaction must be a request's that judges (`OpsDb.request`), so that no run completes unseen.
    """
    runs = sa.select(Run.id).where(Run.step_id == step_id)
    kept = sa.or_(sa.false(), *(_is_of(limit) for limit in limits))
    session.execute(
        sa.update(QualityCheck)
        .where(QualityCheck.run_id.in_(runs), _STANDING, sa.not_(kept))
        .values(superseded_at=now)
        .execution_options(synchronize_session=False)
    )
    of_step = sa.and_(Run.step_id == step_id, Run.status == RunStatus.COMPLETED, Run.is_result)
    for limit in limits:
        judged = sa.select(sa.literal(1)).where(QualityCheck.run_id == Run.id, QualityCheck.name == limit.check_name)
        session.execute(_results(limit, sa.and_(of_step, ~judged.where(_STANDING).exists()), now))


def _limits_in_force(session: Session, run_id: RunId) -> list[QualityLimit]:
    """Return the limits of the run's step in its pipeline's current revision, or in the last one that had the step."""
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
    """Return the statement that notes what a limit says of these runs; without a number it says no."""
    metric, column = QualityMetric, QualityCheck.__table__.c
    kept: list[sa.ColumnElement[bool]] = [metric.value.is_not(None)]
    if limit.minimum is not None:
        kept.append(metric.value >= limit.minimum)
    if limit.maximum is not None:
        kept.append(metric.value <= limit.maximum)
    said: dict[str, Any] = limit.model_dump() | {"name": limit.check_name, "judged_at": now}
    values: dict[str, sa.SQLColumnExpression[Any]] = {
        "run_id": Run.id,
        "value": metric.value,
        "passed": sa.func.coalesce(sa.and_(*kept), sa.false()),
        **{name: sa.literal(value, column[name].type) for name, value in said.items()},
    }
    rows = (
        sa.select(*(values[name] for name in _COLUMNS))
        .select_from(Run)
        .outerjoin(metric, sa.and_(metric.run_id == Run.id, metric.name == limit.metric))
        .where(which)
    )
    return sa.insert(QualityCheck).from_select(_COLUMNS, rows)
