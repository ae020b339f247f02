"""The sub-groups that a request is for, as the gaps are now."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.gap.inputs import sub_group_links
from ccat_models.gap.reasons import Reason
from ccat_models.gap.table import EVERYTHING, gap_now, is_actionable
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.regenerate import Runs, runs_awaited
from ccat_models.tables.base import RunId, SubGroupId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunWaiter
from ccat_models.tables.pipelines import SubGroup


@dataclass(frozen=True)
class Requested:
    """Some sub-groups of steps by their keys, or all of them where `keys` is None; `gap_now` must be filled."""

    session: Session
    keys: Collection[str] | None = None

    def known_keys(self, step: StepView) -> set[str]:
        """Return the keys that are the step's."""
        known = self._of(step, SubGroup.key).join(SubGroup, SubGroup.id == gap_now.c.sub_group_id)
        return set(self.session.scalars(known))

    def sub_groups(self, step: StepView, reasons: Collection[Reason] | None = None) -> Sequence[SubGroupId]:
        """Return the step's sub-groups, or those of them that have one of these reasons."""
        query = self._of(step, gap_now.c.sub_group_id)
        if reasons is not None:
            query = query.where(gap_now.c.reason.in_([reason.value for reason in reasons]))
        return self.session.scalars(query).all()

    def in_flight(self, step: StepView) -> dict[str, RunId]:
        """Return the runs in flight by sub-group key, sorted by key."""
        query = (
            self._of(step, SubGroup.key, gap_now.c.latest_run_id)
            .join(SubGroup, SubGroup.id == gap_now.c.sub_group_id)
            .where(gap_now.c.reason == Reason.IN_FLIGHT.value)
            .order_by(SubGroup.key)
        )
        return {key: RunId(run) for key, run in self.session.execute(query)}

    def upstream_in_flight(self, pipeline: PipelineView, step: StepView) -> set[RunId]:
        """Return the runs in flight, of all steps before this one, that its waiting sub-groups wait for."""
        found: set[RunId] = set()
        for upstream in pipeline.upstreams_of(step):
            links, above = sub_group_links(step, upstream, EVERYTHING), gap_now.alias("above")
            query = (
                self._of(step, above.c.latest_run_id)
                .join(links, links.c.sub_group_id == gap_now.c.sub_group_id)
                .join(above, above.c.sub_group_id == links.c.upstream_sub_group_id)
                .where(gap_now.c.reason == Reason.WAITING_FOR_UPSTREAM.value)
                .where(above.c.step_id == upstream.step_id, above.c.reason == Reason.IN_FLIGHT.value)
            )
            found.update(RunId(run) for run in self.session.scalars(query))
        return found

    def lacked(self, pipeline: PipelineView, step: StepView) -> Runs | None:
        """Return the runs whose purged products the step's sub-groups wait for; None if none waits."""
        return runs_awaited(self.session, pipeline, step, self._of(step, gap_now.c.sub_group_id), gap_now)

    def count_wanted(self, step: StepView, waiter: str | None) -> tuple[int, int]:
        """Return for how many sub-groups a run is wanted now, and for how many of them this waiter has had one."""
        wanted = self._wanted(step).with_only_columns(sa.func.count(), sa.func.count(sa.case((_had(step, waiter), 1))))
        return self.session.execute(wanted).tuples().one()

    def wanted(self, step: StepView, waiter: str | None) -> Sequence[SubGroupId]:
        """Return the sub-groups for which a run is wanted now, without those for which this waiter has had one."""
        left = self._wanted(step).where(sa.not_(_had(step, waiter))).order_by(gap_now.c.sub_group_id)
        return self.session.scalars(left).all()

    def _wanted(self, step: StepView) -> sa.Select[Any]:
        return self._of(step, gap_now.c.sub_group_id).where(is_actionable(gap_now))

    def _of(self, step: StepView, *columns: sa.SQLColumnExpression[Any]) -> sa.Select[Any]:
        query = sa.select(*columns).select_from(gap_now).where(gap_now.c.step_id == step.step_id)
        if self.keys is None:
            return query
        named = (SubGroup.partitioning_id == step.partitioning_id, SubGroup.key.in_(self.keys))
        return query.where(gap_now.c.sub_group_id.in_(sa.select(SubGroup.id).where(*named)))


def _had(step: StepView, waiter: str | None) -> sa.ColumnElement[bool]:
    """Return the condition that a waiter has waited for a run of a sub-group; false if the waiter is None."""
    if waiter is None:
        return sa.false()
    return (
        sa.select(sa.literal(1))
        .select_from(RunWaiter)
        .join(Run, Run.id == RunWaiter.run_id)
        .where(RunWaiter.waiter == waiter, Run.step_id == step.step_id, Run.sub_group_id == gap_now.c.sub_group_id)
        .correlate(gap_now)
        .exists()
    )
