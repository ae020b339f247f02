"""The runs of a step, as far as they decide the reasons of its sub-groups, as SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.gap.blocked import fails_check, is_blocked, is_gone
from ccat_models.gap.table import Scope
from ccat_models.pipeline.versions import acceptable_versions, target_version
from ccat_models.pipeline.view import StepView
from ccat_models.tables.execution import (
    ENDED_BADLY,
    IN_FLIGHT,
    CircuitReset,
    FailureClass,
    RerunRequest,
    RunStatus,
)
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import ReductionStepRevision

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Versions:
    """The software version that a step would run now, and those whose products it accepts."""

    target_id: int
    acceptable_ids: tuple[int, ...]


def versions_of(session: Session, step: StepView) -> Versions:
    """Return the versions that the step's version policy selects from the registered ones."""
    target_query, acceptable_query = _version_queries()
    of_step = {
        "policy": step.version_policy,
        "software_id": step.software_id,
        "pinned_version_id": step.pinned_version_id,
    }
    target = session.scalar(target_query, of_step)
    return Versions(target or step.pinned_version_id, tuple(session.scalars(acceptable_query, of_step)))


@cache
def _version_queries() -> tuple[sa.Select[tuple[int]], sa.Select[tuple[int]]]:
    """Return the two queries; they are built once, because building them takes longer than running them."""
    parameters = (
        sa.bindparam("policy", type_=ReductionStepRevision.version_policy.type),
        sa.bindparam("software_id", type_=sa.Integer),
        sa.bindparam("pinned_version_id", type_=sa.Integer),
    )
    return sa.select(target_version(*parameters)), acceptable_versions(*parameters)


def run_history(step: StepView, inputs: sa.CTE, versions: Versions, scope: Scope) -> sa.CTE:
    """Return, for each sub-group, the newest run of each kind, in one pass over the step's runs.

    `acceptable`: completed with the current inputs, the current configuration and an accepted version; `spent`: failed
    or cancelled with exactly what would be run now; `blocked`: completed with exactly that, but failing a blocking
    check; `usable`: completed, and later steps may read it. Blocked runs are neither `acceptable` nor `usable`. A run
    that regenerates purged products counts as `remaking` while it is in flight, and otherwise only if it is a result.
    """
    completed = sa.and_(Run.status == RunStatus.COMPLETED, Run.is_result)
    ended_badly = sa.and_(Run.status.in_(ENDED_BADLY), Run.is_result)
    in_flight = Run.status.in_(IN_FLIGHT)
    current = sa.and_(
        Run.config_id == step.config_id,
        Run.input_count == inputs.c.input_count,
        *(getattr(Run, f"input_lane_{i}") == inputs.c[f"lane_{i}"] for i in range(3)),
    )
    acceptable = sa.and_(completed, current, Run.software_version_id.in_(versions.acceptable_ids))
    usable = sa.not_(is_blocked(Run.id))
    what_would_be_run = sa.and_(current, Run.software_version_id == versions.target_id)
    return (
        sa.select(
            Run.sub_group_id,
            _newest(sa.or_(Run.is_result, in_flight)).label("latest_run_id"),
            sa.func.max(sa.case((Run.is_result, Run.created_at))).label("last_created_at"),
            _newest(sa.and_(completed, sa.not_(is_gone(Run.id)))).label("completed_run_id"),
            _newest(sa.and_(in_flight, Run.is_result)).label("in_flight_run_id"),
            _newest(sa.and_(in_flight, sa.not_(Run.is_result))).label("remaking_run_id"),
            _newest(sa.and_(completed, usable)).label("usable_run_id"),
            _newest(sa.and_(acceptable, usable)).label("acceptable_run_id"),
            _newest(sa.and_(completed, what_would_be_run, fails_check(Run.id))).label("blocked_run_id"),
            _newest(sa.and_(ended_badly, what_would_be_run)).label("spent_run_id"),
        )
        .join(inputs, inputs.c.sub_group_id == Run.sub_group_id)
        .where(Run.step_id == step.step_id, scope.of(step, Run.sub_group_id))
        .group_by(Run.sub_group_id)
        .cte("history")
    )


def _newest(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.max(sa.case((condition, Run.id)))


def rerun_requests(step: StepView) -> sa.Subquery:
    """Return, for each sub-group, the newest runs before its last renewal of retries and its last forced request."""
    last = sa.func.coalesce(RerunRequest.last_run_id, 0)
    return (
        sa.select(
            RerunRequest.sub_group_id,
            sa.func.max(last).label("renewed_after"),
            sa.func.max(sa.case((RerunRequest.force, last))).label("forced_after"),
        )
        .where(RerunRequest.step_id == step.step_id)
        .group_by(RerunRequest.sub_group_id)
        .subquery("rerun")
    )


def circuit_failures(step: StepView) -> sa.ScalarSelect[int]:
    """Return the number of consecutive science failures of the step, since the last success and the last reset."""
    return sa.select(sa.func.count()).select_from(Run).where(*failed_in_a_row(step)).scalar_subquery()


def failed_in_a_row(step: StepView) -> Sequence[sa.ColumnExpressionArgument[bool]]:
    """Return the conditions that select these runs.

    The row is counted by the times at which runs ended, a reset by the newest run that existed then.
    """
    last_reset = (
        sa.select(sa.func.coalesce(sa.func.max(CircuitReset.last_run_id), 0))
        .where(CircuitReset.step_id == step.step_id)
        .scalar_subquery()
    )
    last_good = sa.func.coalesce(_last_good(step, "status_changed_at"), sa.literal(_LONG_AGO, Run.created_at.type))
    later = sa.or_(Run.status_changed_at > last_good, Run.id > sa.func.coalesce(_last_good(step, "id"), 0))
    return (
        Run.step_id == step.step_id,
        Run.status == RunStatus.FAILED,
        Run.failure_class.in_((FailureClass.SCIENCE, FailureClass.PERMANENT)),
        Run.is_result,
        Run.status_changed_at >= last_good,
        later,
        Run.id > last_reset,
    )


def _last_good(step: StepView, column: str) -> sa.ScalarSelect[Any]:
    """Return a column of the completed run that ended last."""
    other = aliased(Run)
    return (
        sa.select(getattr(other, column))
        .where(other.step_id == step.step_id, other.status == RunStatus.COMPLETED, other.is_result)
        .order_by(other.status_changed_at.desc(), other.id.desc())
        .limit(1)
        .scalar_subquery()
    )
