"""`ensure`: per sub-group publish what is up to date, join a run in flight, or create a run; always safe to repeat."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from ccat_models.errors import NotFound, Refused
from ccat_models.gap.answer import Gap, StepCounts, counts, gaps
from ccat_models.gap.evaluate import Asked, evaluate
from ccat_models.gap.reasons import Reason
from ccat_models.pipeline.view import PipelineView, StepView, load_pipeline
from ccat_models.run.request import ask_again, create_runs
from ccat_models.sub_group.refresh import refresh
from ccat_models.tables.base import RunId, StepId
from ccat_models.tables.pipelines import Partitioning
from resources.cluster import Cluster


@dataclass(frozen=True)
class Wish:
    """Who asks, and how: `force` runs again what is up to date, `retry` renews spent retry budgets."""

    by: str
    ignore_cooldown: bool = False
    patient: bool = False
    force: bool = False
    retry: bool = False


@dataclass(frozen=True)
class Ensured:
    """What `ensure` found or did, by sub-group key."""

    published: Mapping[str, RunId]  # up to date: the run whose products count
    joined: Mapping[str, RunId]  # in flight already
    created: Mapping[str, RunId]
    held: Mapping[str, Reason]  # nothing can be run now, and why
    counts: Mapping[StepId, StepCounts] = field(default_factory=dict)

    @property
    def in_flight(self) -> Mapping[str, RunId]:
        """Return the runs to wait for."""
        return {**self.joined, **self.created}


def refresh_and_evaluate(session: Session, cluster: Cluster, pipeline: PipelineView, wish: Wish) -> None:
    """Bring memberships up to date and fill `gap_now`; in a request's or write transaction."""
    now = cluster.clock()
    for partitioning_id in sorted({step.partitioning_id for step in pipeline.steps}):
        refresh(session, session.get_one(Partitioning, partitioning_id), now)
    evaluate(session, pipeline, Asked(now, ignore_cooldown=wish.ignore_cooldown, patient=wish.patient))


def ensure(cluster: Cluster, pipeline_name: str, step_name: str, keys: Collection[str] | None, wish: Wish) -> Ensured:
    """Make sure that each of the step's sub-groups (all for None) has, or will have, its products.

    Raises NotFound for an unknown pipeline, step or key, in which case nothing is changed.
    """
    with cluster.ops_db.request() as session:
        pipeline = _served_here(cluster, load_pipeline(session, pipeline_name))
        step = pipeline.step(step_name)
        refresh_and_evaluate(session, cluster, pipeline, wish)
        found = list(gaps(session, step, keys=keys))
        _all_known(session, step, keys, found)
        if wish.force or wish.retry:
            asked = [gap.sub_group_id for gap in found]
            ask_again(session, step, asked, force=wish.force, by=wish.by, now=cluster.clock())
            evaluate(session, pipeline, Asked(cluster.clock(), wish.ignore_cooldown, wish.patient))
            found = list(gaps(session, step, keys=keys))
        created = _create(session, cluster, pipeline, step, found, wish)
        return _sorted_out(found, created, counts(session))


def ensure_pipeline(cluster: Cluster, pipeline_name: str, wish: Wish) -> dict[str, Ensured]:
    """Create every run that the pipeline can have now; return by step what was found or done."""
    with cluster.ops_db.request() as session:
        pipeline = _served_here(cluster, load_pipeline(session, pipeline_name))
        refresh_and_evaluate(session, cluster, pipeline, wish)
        answers, found_counts = {}, counts(session)
        for step in pipeline.steps:
            found = list(gaps(session, step))
            created = _create(session, cluster, pipeline, step, found, wish)
            answers[step.name] = _sorted_out(found, created, found_counts)
        return answers


def _served_here(cluster: Cluster, pipeline: PipelineView) -> PipelineView:
    """Return a pipeline that this cluster may run; raise Refused for one of another processing location."""
    if pipeline.processing_location_id != cluster.location_id:
        raise Refused(
            f"pipeline {pipeline.name}: is run at processing location {pipeline.processing_location_id}, "
            f"and this process serves {cluster.location_id} (setting processing_location_id)"
        )
    return pipeline


def _all_known(session: Session, step: StepView, keys: Collection[str] | None, found: Sequence[Gap]) -> None:
    unknown = sorted(set(keys or ()) - {gap.key for gap in found})
    if unknown:
        known = [gap.key for gap in gaps(session, step, limit=20)]
        raise NotFound(f"sub-group of step {step.name}", ", ".join(unknown[:5]), known)


def _create(
    session: Session, cluster: Cluster, pipeline: PipelineView, step: StepView, found: Sequence[Gap], wish: Wish
) -> Mapping[str, RunId]:
    wanted = {gap.sub_group_id: gap.key for gap in found if gap.actionable}
    if not wanted:
        return {}
    created = create_runs(
        session,
        pipeline,
        step,
        backend=cluster.backend.name,
        requested_by=wish.by,
        now=cluster.clock(),
        only=wanted,
    )
    return {wanted[sub_group]: run for run, sub_group in created.items()}


def _sorted_out(
    found: Sequence[Gap], created: Mapping[str, RunId], step_counts: Mapping[StepId, StepCounts]
) -> Ensured:
    published = {
        gap.key: gap.acceptable_run_id
        for gap in found
        if gap.reason is Reason.UP_TO_DATE and gap.acceptable_run_id is not None
    }
    joined = {
        gap.key: gap.latest_run_id for gap in found if gap.reason is Reason.IN_FLIGHT and gap.latest_run_id is not None
    }
    done = {*published, *joined, *created}
    held = {gap.key: gap.reason for gap in found if gap.key not in done}
    return Ensured(published, joined, created, held, step_counts)
