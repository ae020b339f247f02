from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap import table
from ccat_models.gap.history import Versions, circuit_failures, rerun_requests, run_history, versions_of
from ccat_models.gap.inputs import package_inputs, product_inputs, sub_group_links
from ccat_models.gap.reasons import ACTIONABLE, Reason
from ccat_models.gap.table import gap_now
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import FanIn, SubGroup, SubGroupMember
from ccat_models.tables.raw_data import RawDataPackage


@dataclass(frozen=True)
class Asked:
    """How somebody wants the gaps to be seen.

    `patient` holds a step of fan-in `any` back while upstream runs are on their way, as a person who runs the whole
    pipeline expects; a standing pipeline takes what is complete now.
    """

    now: datetime
    ignore_cooldown: bool = False
    patient: bool = False


def evaluate(session: Session, pipeline: PipelineView, asked: Asked) -> None:
    """Fill `gap_now` for all steps of the pipeline from the memberships as they stand, upstreams first."""
    table.start(session)
    steps = {step.step_id: step for step in pipeline.steps}
    for step in pipeline.steps:
        upstreams = [steps[upstream] for upstream in step.upstream_ids]
        session.execute(_insert(_living(step, upstreams, versions_of(session, step), pipeline.enabled, asked)))
        session.execute(_insert(_emptied(step)))
        table.analyze(session)


def _insert(rows: sa.Select[tuple[object, ...]]) -> sa.Insert:
    return sa.insert(gap_now).from_select([column.name for column in gap_now.columns], rows)


def _living(
    step: StepView, upstreams: list[StepView], versions: Versions, enabled: bool, asked: Asked
) -> sa.Select[tuple[object, ...]]:
    inputs = product_inputs(step, upstreams) if upstreams else package_inputs(step)
    history, rerun = run_history(step, inputs, versions), rerun_requests(step)
    forced = sa.func.coalesce(history.c.latest_run_id, 0) <= rerun.c.forced_after
    fresh = sa.and_(history.c.acceptable_run_id.is_not(None), sa.not_(sa.func.coalesce(forced, sa.false())))
    ready = _ready(step, upstreams, inputs, asked)
    reason = sa.case(
        (history.c.in_flight_run_id.is_not(None), Reason.IN_FLIGHT.value),
        (fresh, Reason.UP_TO_DATE.value),
        (sa.literal(not enabled), Reason.DISABLED.value),
        (sa.not_(ready), Reason.WAITING_FOR_UPSTREAM.value),
        (circuit_failures(step) >= step.circuit_threshold, Reason.CIRCUIT_OPEN.value),
        (history.c.spent_run_id > sa.func.coalesce(rerun.c.renewed_after, -1), Reason.RETRIES_EXHAUSTED.value),
        (_cooling(step, history, asked), Reason.COOLING_DOWN.value),
        (forced, Reason.FORCED.value),
        else_=_cause(step, upstreams, inputs, history),
    ).label("reason")
    rows = (
        sa.select(
            sa.literal(step.step_id).label("step_id"),
            inputs.c.sub_group_id,
            reason,
            *(inputs.c[name] for name in ("input_count", "lane_0", "lane_1", "lane_2", "stale", "coming")),
            history.c.acceptable_run_id,
            sa.func.coalesce(history.c.acceptable_run_id, history.c.completed_run_id).label("current_run_id"),
            history.c.latest_run_id,
        )
        .select_from(inputs)
        .outerjoin(history, history.c.sub_group_id == inputs.c.sub_group_id)
        .outerjoin(rerun, rerun.c.sub_group_id == inputs.c.sub_group_id)
    ).subquery("judged")
    return sa.select(
        *(rows.c[name] for name in ("step_id", "sub_group_id", "reason", "input_count", "lane_0", "lane_1", "lane_2")),
        sa.literal(1),
        _will_run(step, rows),
        rows.c.acceptable_run_id,
        rows.c.current_run_id,
        rows.c.latest_run_id,
    )


def _ready(step: StepView, upstreams: list[StepView], inputs: sa.CTE, asked: Asked) -> sa.ColumnElement[bool]:
    if not upstreams:
        return sa.true()
    everywhere = inputs.c.complete_upstreams == len(upstreams)
    if step.fan_in is FanIn.ALL:
        return sa.and_(everywhere, inputs.c.stale == 0)
    return sa.and_(everywhere, inputs.c.coming == 0) if asked.patient else everywhere


def _cooling(step: StepView, history: sa.CTE, asked: Asked) -> sa.ColumnElement[bool]:
    if asked.ignore_cooldown or not step.cooldown_seconds:
        return sa.false()
    return history.c.last_created_at > asked.now - timedelta(seconds=step.cooldown_seconds)


def _cause(step: StepView, upstreams: list[StepView], inputs: sa.CTE, history: sa.CTE) -> sa.ColumnElement[str]:
    last = history.c.completed_run_id
    same_inputs = (
        sa.select(sa.literal(1))
        .where(
            Run.id == last,
            Run.input_count == inputs.c.input_count,
            *(getattr(Run, f"input_lane_{i}") == inputs.c[f"lane_{i}"] for i in range(3)),
        )
        .correlate_except(Run)
        .exists()
    )
    same_config = (
        sa.select(sa.literal(1)).where(Run.id == last, Run.config_id == step.config_id).correlate_except(Run).exists()
    )
    return sa.case(
        (last.is_(None), Reason.MISSING.value),
        (sa.and_(sa.not_(same_inputs), _something_new(step, upstreams, inputs, last)), Reason.NEW_INPUTS.value),
        (sa.not_(same_inputs), Reason.INPUTS_WITHDRAWN.value),
        (same_config, Reason.SOFTWARE_CHANGED.value),
        else_=Reason.CONFIG_CHANGED.value,
    )


def _something_new(
    step: StepView, upstreams: list[StepView], inputs: sa.CTE, last: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    """Say whether an input of now was not among those of the last completed run; else one was withdrawn."""
    if not upstreams:
        read, member, package = RunInputPackage, SubGroupMember, RawDataPackage
        known = (
            sa.select(sa.literal(1))
            .where(
                read.run_id == last,
                read.raw_data_package_id == package.id,
                read.checksum == package.checksum,
            )
            .correlate_except(read)
        )
        return (
            sa.select(sa.literal(1))
            .select_from(member)
            .join(package, package.id == member.raw_data_package_id)
            .where(member.sub_group_id == inputs.c.sub_group_id, sa.not_(known.exists()))
            .correlate_except(member, package)
            .exists()
        )
    return sa.or_(*(_new_from(step, upstream, inputs, last) for upstream in upstreams))


def _new_from(
    step: StepView, upstream: StepView, inputs: sa.CTE, last: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    links, there = sub_group_links(step, upstream), gap_now.alias("there")
    known = (
        sa.select(sa.literal(1))
        .where(RunInputProduct.run_id == last, RunInputProduct.producer_run_id == there.c.current_run_id)
        .correlate_except(RunInputProduct)
    )
    return (
        sa.select(sa.literal(1))
        .select_from(links)
        .join(
            there, sa.and_(there.c.step_id == upstream.step_id, there.c.sub_group_id == links.c.upstream_sub_group_id)
        )
        .join(Run, sa.and_(Run.id == there.c.current_run_id, Run.output_count > 0))
        .where(links.c.sub_group_id == inputs.c.sub_group_id, sa.not_(known.exists()))
        .correlate_except(links, there, Run)
        .exists()
    )


def _will_run(step: StepView, rows: sa.Subquery) -> sa.ColumnElement[int]:
    actionable = rows.c.reason.in_([reason.value for reason in ACTIONABLE])
    follows = rows.c.reason.in_([Reason.WAITING_FOR_UPSTREAM.value, Reason.UP_TO_DATE.value])
    enough = rows.c.coming == rows.c.stale if step.fan_in is FanIn.ALL else sa.true()
    return sa.case((actionable, 1), (sa.and_(follows, rows.c.coming > 0, enough), 1), else_=0)


def _emptied(step: StepView) -> sa.Select[tuple[object, ...]]:
    """Return the sub-groups that had runs and have no archived package any more: nothing is left to run on."""
    had_runs = (
        sa.select(
            Run.sub_group_id,
            sa.func.max(Run.id).label("latest_run_id"),
            sa.func.max(sa.case((Run.status.in_(IN_FLIGHT), Run.id))).label("in_flight_run_id"),
        )
        .where(Run.step_id == step.step_id)
        .group_by(Run.sub_group_id)
        .subquery("had_runs")
    )
    members = sa.select(sa.literal(1)).where(SubGroupMember.sub_group_id == had_runs.c.sub_group_id)
    zero = sa.literal(0)
    return (
        sa.select(
            sa.literal(step.step_id),
            SubGroup.id,
            sa.case(
                (had_runs.c.in_flight_run_id.is_not(None), Reason.IN_FLIGHT.value), else_=Reason.INPUTS_WITHDRAWN.value
            ),
            *([zero] * 6),
            sa.null(),
            sa.null(),
            had_runs.c.latest_run_id,
        )
        .join(had_runs, had_runs.c.sub_group_id == SubGroup.id)
        .where(sa.not_(members.exists()))
    )
