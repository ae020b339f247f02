from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap import table
from ccat_models.gap.cause import cause
from ccat_models.gap.history import Versions, circuit_failures, rerun_requests, run_history, versions_of
from ccat_models.gap.inputs import package_inputs, product_inputs
from ccat_models.gap.reasons import WANTED, Reason
from ccat_models.gap.table import COLUMNS, EVERYTHING, Scope, gap_now
from ccat_models.grouping.portable_sql import LaterBy
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.tables.base import UtcDateTime
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import FanIn, SubGroup, SubGroupMember
from ccat_models.tables.space import NOT_THERE, RunSpace
from ccat_models.temporary import analyze

_INPUTS = ("input_count", "lane_0", "lane_1", "lane_2")


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    With `patient`, a step waits while upstream runs are in flight or will be created: the behaviour for a requester who
    runs the whole pipeline. A standing pipeline takes what is complete now.
    """

    now: datetime
    ignore_cooldown: bool = False
    patient: bool = False


def evaluate(session: Session, pipeline: PipelineView, options: EvaluationOptions) -> None:
    """Fill `gap_now` for all steps of the pipeline, upstreams first; memberships must be up to date."""
    table.start(session)
    for step in pipeline.steps:
        judge(session, pipeline, step, options, EVERYTHING)
        analyze(session, gap_now)


def judge(session: Session, pipeline: PipelineView, step: StepView, options: EvaluationOptions, scope: Scope) -> None:
    """Add to `gap_now` one row for each of the step's sub-groups in the scope."""
    steps = {other.step_id: other for other in pipeline.steps}
    upstreams = [steps[upstream] for upstream in step.upstream_ids]
    judging = _Judging(step, upstreams, options, scope)
    session.execute(_insert(judging.with_packages(versions_of(session, step), enabled=pipeline.enabled)))
    session.execute(_insert(_without_packages(step, scope)))


def _insert(rows: sa.Select[tuple[object, ...]]) -> sa.Insert:
    return sa.insert(gap_now).from_select(COLUMNS, rows)


@dataclass(frozen=True)
class _Judging:
    """One step that is being evaluated, as parts of SQL."""

    step: StepView
    upstreams: list[StepView]
    options: EvaluationOptions
    scope: Scope

    def with_packages(self, versions: Versions, *, enabled: bool) -> sa.Select[tuple[object, ...]]:
        """Return the rows of the sub-groups that have packages, each with its one reason."""
        step, scope = self.step, self.scope
        inputs = product_inputs(step, self.upstreams, scope) if self.upstreams else package_inputs(step, scope)
        history, rerun = run_history(step, inputs, versions, scope), rerun_requests(step)
        current = sa.func.coalesce(history.c.acceptable_run_id, history.c.usable_run_id)
        rows = (
            sa.select(
                *(inputs.c[name] for name in ("sub_group_id", *_INPUTS, "coming", "held", "inputs_since")),
                self._reason(inputs, history, rerun, enabled=enabled).label("reason"),
                history.c.acceptable_run_id,
                current.label("current_run_id"),
                history.c.latest_run_id,
                history.c.last_created_at,
                sa.case((RunSpace.state.in_(NOT_THERE), 1), else_=0).label("purged"),
            )
            .select_from(inputs)
            .outerjoin(history, history.c.sub_group_id == inputs.c.sub_group_id)
            .outerjoin(rerun, rerun.c.sub_group_id == inputs.c.sub_group_id)
            .outerjoin(RunSpace, RunSpace.run_id == current)
        ).subquery("judged")
        values: dict[str, sa.ColumnElement[Any]] = {
            "step_id": sa.literal(step.step_id),
            "alive": sa.literal(1),
            "will_run": self._will_run(rows),
            "due_at": self._due_at(rows),
        }
        return sa.select(*(values[name] if name in values else rows.c[name] for name in COLUMNS))

    def _reason(self, inputs: sa.CTE, history: sa.CTE, rerun: sa.Subquery, *, enabled: bool) -> sa.ColumnElement[str]:
        forced = sa.func.coalesce(history.c.latest_run_id, 0) <= rerun.c.forced_after
        wanted = sa.func.coalesce(forced, sa.false())
        fresh = sa.and_(history.c.acceptable_run_id.is_not(None), sa.not_(wanted))
        renewed_after = sa.func.coalesce(rerun.c.renewed_after, -1)
        return sa.case(
            (history.c.in_flight_run_id.is_not(None), Reason.IN_FLIGHT.value),
            (fresh, Reason.UP_TO_DATE.value),
            (history.c.remaking_run_id.is_not(None), Reason.IN_FLIGHT.value),
            (sa.literal(not enabled), Reason.DISABLED.value),
            (sa.not_(self._ready(inputs)), Reason.WAITING_FOR_UPSTREAM.value),
            (circuit_failures(self.step) >= self.step.circuit_threshold, Reason.CIRCUIT_OPEN.value),
            (history.c.spent_run_id > renewed_after, Reason.RETRIES_EXHAUSTED.value),
            (history.c.blocked_run_id > renewed_after, Reason.QUALITY_BLOCKED.value),
            (self._since(history.c.last_created_at, self.step.cooldown_seconds), Reason.COOLING_DOWN.value),
            (self._since(inputs.c.inputs_since, self.step.settle_seconds), Reason.SETTLING.value),
            (inputs.c.purged > 0, Reason.INPUTS_PURGED.value),
            (sa.or_(wanted, history.c.blocked_run_id.is_not(None)), Reason.FORCED.value),
            else_=cause(self.step, self.upstreams, inputs, history.c.completed_run_id, self.scope),
        )

    def _ready(self, inputs: sa.CTE) -> sa.ColumnElement[bool]:
        if not self.upstreams:
            return sa.true()
        everywhere = inputs.c.complete_upstreams == len(self.upstreams)
        whole = inputs.c.stale == 0 if self.step.fan_in is FanIn.ALL else sa.true()
        quiet = inputs.c.coming == 0 if self.options.patient else sa.true()
        return sa.and_(everywhere, whole, quiet)

    def _since(self, moment: sa.ColumnElement[datetime], seconds: int) -> sa.ColumnElement[bool]:
        if self.options.ignore_cooldown or not seconds:
            return sa.false()
        return moment > self.options.now - timedelta(seconds=seconds)

    def _will_run(self, rows: sa.Subquery) -> sa.ColumnElement[int]:
        wanted = rows.c.reason.in_([reason.value for reason in WANTED])
        follows = rows.c.reason.in_([Reason.WAITING_FOR_UPSTREAM.value, Reason.UP_TO_DATE.value])
        enough = rows.c.held == 0 if self.step.fan_in is FanIn.ALL else sa.true()
        return sa.case((wanted, 1), (sa.and_(follows, rows.c.coming > 0, enough), 1), else_=0)

    def _due_at(self, rows: sa.Subquery) -> sa.ColumnElement[datetime]:
        cooled = LaterBy(rows.c.last_created_at, sa.literal(self.step.cooldown_seconds))
        settled = LaterBy(rows.c.inputs_since, sa.literal(self.step.settle_seconds))
        return sa.case(
            (rows.c.reason == Reason.COOLING_DOWN.value, cooled),
            (rows.c.reason == Reason.SETTLING.value, settled),
            else_=sa.null(),
        )


def _without_packages(step: StepView, scope: Scope) -> sa.Select[tuple[object, ...]]:
    """Return the rows of the sub-groups without archived packages, which have nothing to run on."""
    had_runs = (
        sa.select(
            Run.sub_group_id,
            sa.func.max(sa.case((sa.or_(Run.is_result, Run.status.in_(IN_FLIGHT)), Run.id))).label("latest_run_id"),
            sa.func.max(sa.case((Run.status.in_(IN_FLIGHT), Run.id))).label("in_flight_run_id"),
        )
        .where(Run.step_id == step.step_id, scope.of(step, Run.sub_group_id))
        .group_by(Run.sub_group_id)
        .subquery("had_runs")
    )
    members = sa.select(sa.literal(1)).where(SubGroupMember.sub_group_id == SubGroup.id).correlate(SubGroup)
    in_flight = had_runs.c.in_flight_run_id.is_not(None)
    values: dict[str, sa.ColumnElement[Any]] = {
        "step_id": sa.literal(step.step_id),
        "sub_group_id": sa.type_coerce(SubGroup.id, sa.BigInteger),
        "reason": sa.case((in_flight, Reason.IN_FLIGHT.value), else_=Reason.INPUTS_WITHDRAWN.value),
        "latest_run_id": had_runs.c.latest_run_id,
        **dict.fromkeys((*_INPUTS, "alive", "will_run", "purged"), sa.literal(0)),
        **dict.fromkeys(("inputs_since", "due_at"), sa.cast(sa.null(), UtcDateTime())),
    }
    null = sa.cast(sa.null(), sa.BigInteger)
    return (
        sa.select(*(values.get(name, null) for name in COLUMNS))
        .select_from(SubGroup)
        .outerjoin(had_runs, had_runs.c.sub_group_id == SubGroup.id)
        .where(scope.cut(SubGroup.partitioning_id, step), scope.of(step, SubGroup.id), ~members.exists())
    )
