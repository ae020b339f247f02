"""Fill the gaps of standing pipelines: follow changes of packages, and create the runs that pipelines lack."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ccat_models.gap.look import Looked, look
from ccat_models.gap.rounds import end_round, fire_trigger, round_begun
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.standing import anything_due, can_regenerate_any, pipelines_to_visit, request_gaps
from ccat_models.sub_group.follow import follow_packages
from resources.location import Cluster

_AT_A_TIME = 2_000  # runs created in one transaction: meanwhile no other process can request runs


@dataclass
class PipelineRound:
    """What one visit to a location's pipelines found and did; counts by pipeline and step, "pipeline/step"."""

    judged: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    created: Counter[str] = field(default_factory=Counter)


def run_round(cluster: Cluster, paused: Collection[str] = ()) -> PipelineRound | None:
    """Follow changes and create the runs that pipelines of this location lack; return None if nothing was due.

    Any number of processes may call this, and may be killed at any time: each transaction records what is left to do.
    The triggers of the `paused` pipelines begin no round, and stay due; rounds in progress, and requested ones, go on.
    If pipelines fail, the others are visited first; then an ExceptionGroup of the failures is raised.
    """
    ops_db, now = cluster.ops_db, cluster.clock()
    with ops_db.read() as session:
        if not anything_due(session, cluster.location_id, now, paused):
            return None
    with ops_db.request() as session:
        follow_packages(session, now)
    with ops_db.read() as session:
        names = pipelines_to_visit(session, cluster.location_id, now, paused)
    found, failed = PipelineRound(), dict[str, Exception]()
    for name in names:
        try:
            while _run_pipeline_round(cluster, name, found, is_paused=name in paused):
                pass
        except Exception as error:  # noqa: BLE001 - the other pipelines are visited first: see below
            failed[name] = error
    if failed:
        raise ExceptionGroup(f"pipelines that could not be visited: {', '.join(failed)}", list(failed.values()))
    return found


def _run_pipeline_round(cluster: Cluster, name: str, found: PipelineRound, *, is_paused: bool) -> bool:
    """Evaluate a pipeline's gaps and create at most `_AT_A_TIME` runs; say whether there may be more to create."""
    now = cluster.clock()
    with cluster.ops_db.request() as session:
        pipeline = load_pipeline(session, name)
        if pipeline.processing_location_id != cluster.location_id:
            return False  # it moved elsewhere just now
        names = {step.step_id: f"{name}/{step.name}" for step in pipeline.steps}

        def note(looked: Looked) -> None:
            found.judged.update({names[step]: count for step, count in looked.judged.items()})
            found.changed.update({names[step]: count for step, count in looked.changed.items()})

        note(look(session, pipeline, now))
        fire_trigger(session, pipeline, now, is_paused=is_paused)
        created = request_gaps(
            session,
            pipeline,
            backend=cluster.backend.name,
            now=now,
            limit=_AT_A_TIME,
            at_location=cluster.max_in_flight,
        )
        found.created.update({f"{name}/{step}": len(runs) for step, runs in created.items()})
        if created:
            note(look(session, pipeline, now))
        elif pipeline.enabled and (begun := round_begun(session, pipeline)) is not None:
            end_round(session, pipeline, begun, now, regenerates=can_regenerate_any(session, pipeline))
        return bool(created)
