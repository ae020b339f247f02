"""Regenerate purged products because a requester wants them, not because a gap reads them."""

from collections.abc import Collection, Mapping

from ccat_models.errors import Refused
from ccat_models.pipeline.view import PipelineView, load_pipeline
from ccat_models.run.cancel import wait_for
from ccat_models.run.regenerate import regenerate, regenerations_in_flight, renew, runs_numbered
from ccat_models.run.regenerated import any_purged, purged_runs
from ccat_models.run.request import free_places
from ccat_models.tables.base import RunId
from resources.location import Cluster
from resources.ops_db import Session
from resources.request.attached import Attached, Outcome
from resources.request.ensure import Ensured, RequestOptions
from resources.space.purging import finish


def request_again(
    cluster: Cluster,
    pipeline_name: str,
    run_ids: Collection[RunId],
    options: RequestOptions,
    *,
    waiter: str | None = None,
) -> Mapping[str, Ensured]:
    """Create the runs that regenerate the purged products of runs of a pipeline, as many as can be created now.

    With `retry`, regenerations that failed before are tried once more. Returns what is in flight, by step. Raises
    NotFound for an unknown pipeline.
    """
    with cluster.ops_db.request() as session:
        pipeline, now = load_pipeline(session, pipeline_name), cluster.clock()
        wanted = runs_numbered(run_ids)
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
        going = regenerations_in_flight(session, wanted)
        if waiter is not None and going:
            wait_for(session, going, waiter, now)
        full = [] if going or not any_purged(session, wanted) else _full_steps(session, pipeline, cluster)
    by_step = {step.name: {run: name for run, name in going.items() if name == step.name} for step in pipeline.steps}
    return {name: Ensured({}, {}, {}, {}, left=int(name in full), inputs=runs) for name, runs in by_step.items()}


class Regenerator(Attached):
    """A requester that waits until purged products are regenerated, or it is clear that they cannot be."""

    def make_again(self, pipeline: str, run_ids: Collection[RunId], by: str) -> Outcome:
        """Regenerate the products of runs of a pipeline, upstream steps first."""

        def look_again(options: RequestOptions) -> Mapping[str, Ensured]:
            return request_again(self.executor.cluster, pipeline, run_ids, options, waiter=self.waiter)

        return self._round_after_round(pipeline, look_again, RequestOptions(by=by, retry=True))


def purged_here(cluster: Cluster, run_ids: Collection[RunId]) -> dict[str, list[RunId]]:
    """Return those of the runs that were purged, by pipeline; purges that have begun are finished first.

    Raises Refused for a run of another processing location.
    """
    finish(cluster)
    found: dict[str, list[RunId]] = {}
    with cluster.ops_db.read() as session:
        for pipeline, run_id, location_id in purged_runs(session, run_ids):
            if location_id != cluster.location_id:
                raise Refused(
                    f"run {run_id}: lay at processing location {location_id}, and this process serves "
                    f"{cluster.location_id} (setting processing_location_id)"
                )
            found.setdefault(pipeline, []).append(run_id)
    return found


def _full_steps(session: Session, pipeline: PipelineView, cluster: Cluster) -> list[str]:
    """Return the names of the steps of which no more runs may be in flight now."""
    at_location = cluster.max_in_flight
    return [step.name for step in pipeline.steps if free_places(session, pipeline, step, at_location) == 0]
