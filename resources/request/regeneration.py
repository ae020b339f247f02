"""Making purged products again because somebody wants them, not because a gap reads them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ccat_models.errors import Refused
from ccat_models.gap.blocked import is_tainted
from ccat_models.pipeline.view import PipelineView, StepView, load_pipeline
from ccat_models.run.cancel import wait_for
from ccat_models.run.regenerate import needed_runs, on_their_way, regenerate, renew, runs_lacked
from ccat_models.run.request import free_places
from ccat_models.tables.base import RunId, SubGroupId
from ccat_models.tables.execution import ENDED_BADLY, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.pipelines import Pipeline, ReductionStep, SubGroup
from ccat_models.tables.space import NOT_THERE, RunSpace, SpaceState
from resources.location import Cluster
from resources.request.attached import Attached, Outcome
from resources.request.ensure import Ensured, RequestOptions
from resources.space.purging import finish


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
        """Say whether nobody tries it again unless somebody asks for that."""
        return self.tried_status in ENDED_BADLY


def request_again(
    cluster: Cluster,
    pipeline_name: str,
    run_ids: Collection[RunId],
    options: RequestOptions,
    *,
    waiter: str | None = None,
) -> Mapping[str, Ensured]:
    """Create the runs that make products of runs of a pipeline again, as far as that can begin now.

    With `retry`, those that failed before are tried once more. Returns by step what is on its way.
    """
    with cluster.ops_db.request() as session:
        pipeline, now = load_pipeline(session, pipeline_name), cluster.clock()
        wanted = sa.select(Run.id.label("run_id")).where(Run.id.in_(run_ids))
        if options.retry:
            renew(session, pipeline, wanted, by=options.by, now=now)
        regenerate(
            session,
            pipeline,
            wanted,
            backend=cluster.backend.name,
            requested_by=options.by,
            now=now,
            at_location=cluster.max_in_flight,
        )
        going = dict(session.execute(on_their_way(wanted)).tuples().all())
        if waiter is not None and going:
            wait_for(session, going, waiter, now)
        full = [] if going or not _is_left(session, wanted) else _full_steps(session, pipeline, cluster)
    cluster.passing("runs requested")
    by_step = {step.name: {run: name for run, name in going.items() if name == step.name} for step in pipeline.steps}
    return {name: Ensured({}, {}, {}, {}, left=int(name in full), inputs=runs) for name, runs in by_step.items()}


class Regenerator(Attached):
    """Somebody who stays until purged products are there again, or it is clear that they cannot be."""

    def make_again(self, pipeline: str, run_ids: Collection[RunId], by: str) -> Outcome:
        """Make the products of runs of a pipeline again, round after round, upstreams first."""

        def look_again(options: RequestOptions) -> Mapping[str, Ensured]:
            return request_again(self.executor.cluster, pipeline, run_ids, options, waiter=self.waiter)

        return self._round_after_round(pipeline, look_again, RequestOptions(by=by, retry=True))


def purged_here(cluster: Cluster, run_ids: Collection[RunId]) -> dict[str, list[RunId]]:
    """Return those of the runs that were purged by their pipelines; what is being removed is removed first.

    Raises Refused for a run of another processing location.
    """
    finish(cluster)
    query = (
        sa.select(Pipeline.name, RunSpace.run_id, RunSpace.data_location_id)
        .join(ReductionStep, ReductionStep.pipeline_id == Pipeline.id)
        .join(RunSpace, RunSpace.step_id == ReductionStep.id)
        .where(RunSpace.run_id.in_(run_ids), RunSpace.state.in_(NOT_THERE))
        .order_by(Pipeline.name, RunSpace.run_id)
    )
    found: dict[str, list[RunId]] = {}
    with cluster.ops_db.read() as session:
        for pipeline, run_id, location_id in session.execute(query).tuples():
            if location_id != cluster.location_id:
                raise Refused(
                    f"run {run_id}: lay at processing location {location_id}, and this process serves "
                    f"{cluster.location_id} (setting processing_location_id)"
                )
            found.setdefault(pipeline, []).append(run_id)
    return found


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
    session: Session, pipeline: PipelineView, step: StepView, sub_group_id: SubGroupId, known: sa.Table
) -> list[Regenerated]:
    """Return what a sub-group of a step waits for: what it reads, or that is made of, and was purged."""
    it = sa.select(known.c.sub_group_id).where(known.c.step_id == step.step_id, known.c.sub_group_id == sub_group_id)
    lacked = runs_lacked(session, pipeline, step, it, known)
    if lacked is None:
        return []
    needed = needed_runs(lacked)
    purged = sa.select(RunSpace.run_id).join(needed, needed.c.run_id == RunSpace.run_id)
    return outcomes(session, purged.where(RunSpace.state.in_(NOT_THERE)))


def _is_left(session: Session, wanted: sa.Select[tuple[RunId]]) -> bool:
    left = sa.select(RunSpace.run_id).where(RunSpace.run_id.in_(wanted), RunSpace.state.in_(NOT_THERE))
    return session.scalar(left.limit(1)) is not None


def _full_steps(session: Session, pipeline: PipelineView, cluster: Cluster) -> list[str]:
    """Return the steps of which no more runs may be in flight now."""
    at_location = cluster.max_in_flight
    return [step.name for step in pipeline.steps if free_places(session, pipeline, step, at_location) == 0]
