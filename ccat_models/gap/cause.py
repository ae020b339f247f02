"""Why a sub-group that may be run now is not up to date, as SQL."""

import sqlalchemy as sa

from ccat_models.gap.inputs import sub_group_links
from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import Scope
from ccat_models.pipeline.view import StepView
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import SubGroupMember
from ccat_models.tables.raw_data import RawDataPackage


def cause(
    step: StepView, upstreams: list[StepView], inputs: sa.CTE, last: sa.ColumnElement[int], scope: Scope
) -> sa.ColumnElement[str]:
    """Return the reason: how the last completed run differs from what would be run now."""
    same_inputs = _last_run_has(
        last,
        Run.input_count == inputs.c.input_count,
        *(getattr(Run, f"input_lane_{i}") == inputs.c[f"lane_{i}"] for i in range(3)),
    )
    same_config = _last_run_has(last, Run.config_id == step.config_id)
    new = (
        sa.or_(*(_new_from(step, upstream, inputs, last, scope) for upstream in upstreams))
        if upstreams
        else _new_package(inputs, last)
    )
    return sa.case(
        (last.is_(None), Reason.MISSING.value),
        (sa.and_(sa.not_(same_inputs), new), Reason.NEW_INPUTS.value),
        (sa.not_(same_inputs), Reason.INPUTS_WITHDRAWN.value),
        (same_config, Reason.SOFTWARE_CHANGED.value),
        else_=Reason.CONFIG_CHANGED.value,
    )


def _last_run_has(last: sa.ColumnElement[int], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.select(sa.literal(1)).where(Run.id == last, *conditions).correlate_except(Run).exists()


def _new_package(inputs: sa.CTE, last: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition that the last completed run did not read a package of now; else one was withdrawn."""
    read, member, package = RunInputPackage, SubGroupMember, RawDataPackage
    known = (
        sa.select(sa.literal(1))
        .where(read.run_id == last, read.raw_data_package_id == package.id, read.checksum == package.checksum)
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


def _new_from(
    step: StepView, upstream: StepView, inputs: sa.CTE, last: sa.ColumnElement[int], scope: Scope
) -> sa.ColumnElement[bool]:
    links, there = sub_group_links(step, upstream, scope), scope.known.alias("there")
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
