"""Plan ahead: what would be run and what it would cost, also after a change that is only tried and rolled back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ccat_models.gap.answer import Gap, StepCounts, counts, gaps
from ccat_models.pipeline.view import PipelineView, load_pipeline
from ccat_models.product.estimate import Cost, cost, estimates
from ccat_models.tables.base import StepId
from resources.errors import TransientError
from resources.location import Cluster
from resources.ops_db import Session
from resources.request.ensure import RequestOptions, refresh_and_evaluate

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A pipeline as it would be, its sub-groups counted by reason, and what its runs would cost.

    `listed` holds the first sub-groups of each step, if a limit was given. `capacity` is how many more jobs the
    location takes now: None if there is no limit, or if `capacity_unknown` says why it is unknown.
    """

    pipeline: PipelineView
    counts: Mapping[StepId, StepCounts]
    listed: Mapping[str, list[Gap]]
    cost: Cost
    capacity: int | None
    capacity_unknown: str | None


def foresee(
    cluster: Cluster, name: str, options: RequestOptions, *, suppose: Callable[[Session], T], limit: int = 0
) -> tuple[Plan, T]:
    """Return what would be run after the change `suppose`, and what that returned; everything is rolled back.

    At most `limit` sub-groups of each step are listed. Raises NotFound for an unknown pipeline, and what the change
    raises.
    """
    capacity, unknown = _capacity(cluster)  # before the transaction: the back end may take its time
    with cluster.ops_db.request() as session:
        supposed = suppose(session)
        view = load_pipeline(session, name)
        refresh_and_evaluate(session, cluster, view, options)
        found = counts(session)
        listed = {step.name: list(gaps(session, step, limit=limit)) for step in view.steps} if limit else {}
        most = cluster.max_in_flight
        if view.processing_location_id != cluster.location_id:
            capacity, unknown = None, f"it is run at processing location {view.processing_location_id}, not from here"
            most = None
        places = [limit for limit in (capacity, most) if limit is not None]
        costs = cost(view, found, estimates(session, view), min(places, default=None))
        session.rollback()
    return Plan(view, found, listed, costs, capacity, unknown), supposed


def _capacity(cluster: Cluster) -> tuple[int | None, str | None]:
    try:
        return cluster.backend.capacity(), None
    except TransientError as error:
        return None, str(error)
