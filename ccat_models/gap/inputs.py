"""The present inputs of each sub-group of a step, as SQL: packages for a root step, else products of upstream runs."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from ccat_models.gap.table import Scope
from ccat_models.pipeline.view import StepView
from ccat_models.tables.base import UtcDateTime
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import SubGroupMember
from ccat_models.tables.raw_data import RawDataPackage


def package_inputs(step: StepView, scope: Scope) -> sa.CTE:
    """Return the inputs of a step without upstreams: number and lanes of the packages in each sub-group."""
    member, package = SubGroupMember, RawDataPackage
    return (
        sa.select(
            member.sub_group_id.label("sub_group_id"),
            sa.func.count().label("input_count"),
            *(_big(sa.func.sum(lane)).label(f"lane_{i}") for i, lane in enumerate(_lanes(package, ""))),
            sa.literal(1).label("complete_upstreams"),
            sa.literal(0).label("stale"),
            sa.literal(0).label("coming"),
            sa.literal(0).label("held"),
            sa.literal(0).label("purged"),
            sa.func.max(_arrival(package)).label("inputs_since"),
        )
        .join(package, package.id == member.raw_data_package_id)
        .where(member.partitioning_id == step.partitioning_id, scope.of(step, member.sub_group_id))
        .group_by(member.sub_group_id)
        .cte("inputs")
    )


def product_inputs(step: StepView, upstreams: Sequence[StepView], scope: Scope) -> sa.CTE:
    """Return the inputs of a step with upstreams, summed over the current runs that fall into each sub-group.

    `complete_upstreams` counts the upstream steps with at least one current run here, `stale` the upstream sub-groups
    that are not up to date, `coming` those that are in flight or will be run, `held` those that are neither up to date
    nor coming, `purged` those whose products are purged.
    """
    each = sa.union_all(*(_of_one_upstream(step, upstream, scope) for upstream in upstreams)).subquery("each")
    return (
        sa.select(
            each.c.sub_group_id,
            _big(sa.func.sum(each.c.input_count)).label("input_count"),
            *(_big(sa.func.sum(each.c[f"lane_{i}"])).label(f"lane_{i}") for i in range(3)),
            sa.func.sum(sa.case((each.c.available > 0, 1), else_=0)).label("complete_upstreams"),
            sa.func.sum(each.c.stale).label("stale"),
            sa.func.sum(each.c.coming).label("coming"),
            sa.func.sum(each.c.held).label("held"),
            sa.func.sum(each.c.purged).label("purged"),
            sa.func.max(each.c.inputs_since).label("inputs_since"),
        )
        .group_by(each.c.sub_group_id)
        .cte("inputs")
    )


def sub_group_links(step: StepView, upstream: StepView, scope: Scope) -> sa.Subquery:
    """Return which upstream sub-groups fall into which sub-groups of the step: those that share a package."""
    known = scope.known
    if step.partitioning_id == upstream.partitioning_id:
        same = sa.select(known.c.sub_group_id, known.c.sub_group_id.label("upstream_sub_group_id"))
        alive = (known.c.step_id == upstream.step_id, known.c.alive == 1)
        return same.where(*alive, scope.of(step, known.c.sub_group_id)).subquery("links")
    here, there = sa.alias(SubGroupMember.__table__, "here"), sa.alias(SubGroupMember.__table__, "there")
    return (
        sa.select(here.c.sub_group_id, there.c.sub_group_id.label("upstream_sub_group_id"))
        .join(there, there.c.raw_data_package_id == here.c.raw_data_package_id)
        .where(
            scope.cut(here.c.partitioning_id, step),
            there.c.partitioning_id == upstream.partitioning_id,
            scope.of(step, here.c.sub_group_id),
        )
        .distinct()
        .subquery("links")
    )


def _of_one_upstream(step: StepView, upstream: StepView, scope: Scope) -> sa.Select[tuple[int, ...]]:
    links, run, known = sub_group_links(step, upstream, scope), Run, scope.known
    coming = sa.case((known.c.reason == "in_flight", 1), else_=known.c.will_run)
    return (
        sa.select(
            links.c.sub_group_id,
            sa.func.coalesce(sa.func.sum(run.output_count), 0).label("input_count"),
            *(
                sa.func.coalesce(sa.func.sum(lane), 0).label(f"lane_{i}")
                for i, lane in enumerate(_lanes(run, "output_"))
            ),
            sa.func.count(run.id).label("available"),
            sa.func.sum(sa.case((known.c.reason == "up_to_date", 0), else_=1)).label("stale"),
            sa.func.sum(coming).label("coming"),
            sa.func.sum(sa.case((known.c.reason == "up_to_date", 0), else_=1 - coming)).label("held"),
            sa.func.coalesce(sa.func.sum(known.c.purged), 0).label("purged"),
            sa.func.max(run.status_changed_at).label("inputs_since"),
        )
        .join(
            known,
            sa.and_(known.c.step_id == upstream.step_id, known.c.sub_group_id == links.c.upstream_sub_group_id),
        )
        .outerjoin(run, run.id == known.c.current_run_id)
        .group_by(links.c.sub_group_id)
    )


def _arrival(package: type[RawDataPackage]) -> sa.ColumnElement[datetime]:
    return sa.type_coerce(sa.func.coalesce(package.archived_at, package.created_at), UtcDateTime())


def _lanes(table: type, prefix: str) -> list[sa.ColumnElement[int]]:
    return [getattr(table, f"{prefix}lane_{i}") for i in range(3)]


def _big(expression: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    # PostgreSQL's sum of bigint is numeric; the sums stay below 2**63 (see Lanes).
    return sa.cast(expression, sa.BigInteger)
