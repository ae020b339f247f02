"""Filling gaps without anybody asking: what changed is followed, and pipelines ask for the runs they lack."""

from collections import Counter
from dataclasses import dataclass, field

from ccat_models.gap.look import Looked, look
from ccat_models.gap.rounds import end_round, fire_trigger, round_begun
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.standing import anything_due, can_regenerate_any, pipelines_to_visit, request_gaps
from ccat_models.sub_group.follow import follow_packages
from resources.location import Cluster

_AT_A_TIME = 2_000  # runs created in one transaction: nobody else can ask for runs meanwhile


@dataclass
class PipelineRound:
    """What one visit to a location's pipelines found and did; counts by pipeline and step, "pipeline/step"."""

    judged: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    created: Counter[str] = field(default_factory=Counter)


def run_round(cluster: Cluster) -> PipelineRound | None:
    """Follow what has changed and create the runs that pipelines of this location ask for; None for nothing to do.

    Any number of processes may do so at any time, and die at any time: each of its transactions leaves noted what it
    has not done. Raises an ExceptionGroup of what went wrong with single pipelines, once the others were visited.
    """
    ops_db, now = cluster.ops_db, cluster.clock()
    with ops_db.read() as session:
        if not anything_due(session, cluster.location_id, now):
            return None
    with ops_db.request() as session:
        follow_packages(session, now)
    with ops_db.read() as session:
        names = pipelines_to_visit(session, cluster.location_id, now)
    found, failed = PipelineRound(), dict[str, Exception]()
    for name in names:
        try:
            while _run_pipeline_round(cluster, name, found):
                pass
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one pipeline holds up no other: see below
            failed[name] = error
    if failed:
        raise ExceptionGroup(f"pipelines that could not be visited: {', '.join(failed)}", list(failed.values()))
    return found


def _run_pipeline_round(cluster: Cluster, name: str, found: PipelineRound) -> bool:
    """Look at a pipeline and create runs, not too many; say whether there may be more to create."""
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
        fire_trigger(session, pipeline, now)
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
