"""What became of products that were purged: which run has made them again, or was to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.gap.blocked import is_tainted
from ccat_models.gap.table import GapTable
from ccat_models.pipeline.view import PipelineView, StepView
from ccat_models.run.regenerate import Runs, needed_runs, runs_awaited
from ccat_models.tables.base import RunId, SubGroupId
from ccat_models.tables.execution import ENDED_BADLY, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.space import NOT_THERE, RunSpace, SpaceState


@dataclass(frozen=True)
class Regenerated:
    """What became of a run's products: whether they are there, and which run has made them again.

    `tried` is the newest run that was to make them again and has not, with its status and what went wrong. What is made
    again of products that are `tainted` is tainted, too.
    """

    run_id: RunId
    pipeline: str
    step: str
    sub_group: str
    state: SpaceState
    made_by: RunId | None
    tried: RunId | None
    tried_status: RunStatus | None
    failure: str | None
    tainted: bool

    @property
    def last_try(self) -> str | None:
        """Return which run was to make them again, and how far it came."""
        if self.tried is None or self.tried_status is None:
            return None
        return f"run {self.tried} {self.tried_status.value}" + (f": {self.failure}" if self.failure else "")

    @property
    def is_in_vain(self) -> bool:
        """Say whether the last try failed or was cancelled: it is tried again only on request."""
        return self.tried_status in ENDED_BADLY


def purged_runs(session: Session, run_ids: Collection[RunId]) -> Sequence[tuple[str, RunId, int]]:
    """Return those of the runs that were purged, ordered by the names of their pipelines, and where they lay."""
    query = (
        sa.select(Pipeline.name, RunSpace.run_id, RunSpace.data_location_id)
        .join(ReductionStep, ReductionStep.pipeline_id == Pipeline.id)
        .join(RunSpace, RunSpace.step_id == ReductionStep.id)
        .where(RunSpace.run_id.in_(run_ids), RunSpace.state.in_(NOT_THERE))
        .order_by(Pipeline.name, RunSpace.run_id)
    )
    return session.execute(query).tuples().all()


def any_purged(session: Session, runs: Runs) -> bool:
    """Say whether the products of one of the runs are not there."""
    left = sa.select(RunSpace.run_id).where(RunSpace.run_id.in_(runs), RunSpace.state.in_(NOT_THERE))
    return session.scalar(left.limit(1)) is not None


def outcomes(session: Session, run_ids: Collection[RunId] | sa.Select[tuple[RunId]]) -> list[Regenerated]:
    """Return what became of the products of runs."""
    tried = aliased(Run)
    newest = (
        sa.select(sa.func.max(tried.id))
        .where(tried.regenerates_run_id == RunSpace.run_id)
        .correlate(RunSpace)
        .scalar_subquery()
    )
    query = (
        sa.select(RunSpace.run_id, Pipeline.name, ReductionStep.name, SubGroup.key, RunSpace.state)
        .add_columns(sa.func.coalesce(RunSpace.replaced_by_run_id, RunSpace.restored_by_run_id))
        .add_columns(tried.id, tried.status, tried.failure_message, is_tainted(RunSpace.run_id))
        .join(ReductionStep, ReductionStep.id == RunSpace.step_id)
        .join(Pipeline, Pipeline.id == ReductionStep.pipeline_id)
        .join(SubGroup, SubGroup.id == RunSpace.sub_group_id)
        .outerjoin(tried, sa.and_(tried.id == newest, tried.status != RunStatus.COMPLETED))
        .where(RunSpace.run_id.in_(run_ids))
        .order_by(RunSpace.run_id)
    )
    return [Regenerated(*row) for row in session.execute(query).tuples()]


def waited_for(
    session: Session, pipeline: PipelineView, step: StepView, sub_group_id: SubGroupId, known: GapTable
) -> list[Regenerated]:
    """Return what a sub-group of a step waits for: what it reads, or that is made of, and was purged."""
    it = sa.select(known.c.sub_group_id).where(known.c.step_id == step.step_id, known.c.sub_group_id == sub_group_id)
    lacked = runs_awaited(session, pipeline, step, it, known)
    if lacked is None:
        return []
    needed = needed_runs(lacked)
    purged = sa.select(RunSpace.run_id).join(needed, needed.c.run_id == RunSpace.run_id)
    return outcomes(session, purged.where(RunSpace.state.in_(NOT_THERE)))
