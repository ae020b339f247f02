"""What a purge would do now, and why no more: nothing is changed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.product.kept import Held, StepHeld, by_cause, held
from ccat_models.product.purge import Removable
from ccat_models.run.staged_copies import releasable
from ccat_models.tables.base import StepId
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from resources.cluster import Cluster
from resources.purging import look_at_all, removable
from resources.release import AT_ONCE, enough


@dataclass(frozen=True)
class StepPlan:
    """The runs of a step whose products would be removed, and when the first of them was last used."""

    pipeline: str
    step: str
    runs: int
    size_bytes: int
    oldest_use: datetime


@dataclass(frozen=True)
class Plan:
    """What would be removed for so much room: staged raw data first, then products."""

    wanted_bytes: int
    staged_packages: int
    staged_bytes: int
    steps: tuple[StepPlan, ...]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes would be free then."""
        return self.staged_bytes + sum(step.size_bytes for step in self.steps)


def plan(cluster: Cluster, wanted_bytes: int) -> Plan:
    """Return what making so much room would remove."""
    with cluster.ops_db.read() as session:
        copies = releasable(session, cluster.location_id, cluster.clock(), AT_ONCE) if cluster.stager else []
    staged = enough(copies, wanted_bytes)
    staged_bytes = sum(copy.size_bytes for copy in staged)
    left = wanted_bytes - staged_bytes
    chosen = removable(cluster, left) if left > 0 else []
    with cluster.ops_db.read() as session:
        return Plan(wanted_bytes, len(staged), staged_bytes, _by_step(session, chosen))


def kept(cluster: Cluster) -> list[Held]:
    """Return by cause what a purge would leave, and, without a cause, what all it could remove."""
    return by_cause(kept_by_step(cluster))


def kept_by_step(cluster: Cluster) -> list[StepHeld]:
    """Return the same of each step."""
    with cluster.ops_db.request() as session:
        now = cluster.clock()
        look_at_all(session, now)
        return held(session, cluster.location_id, now)


def _by_step(session: Session, chosen: Sequence[Removable]) -> tuple[StepPlan, ...]:
    runs: dict[StepId, list[Removable]] = defaultdict(list)
    for one in chosen:
        runs[one.step_id].append(one)
    names = (
        sa.select(ReductionStep.id, Pipeline.name, ReductionStep.name)
        .join(Pipeline)
        .where(ReductionStep.id.in_(runs))
        .order_by(Pipeline.name, ReductionStep.id)
    )
    return tuple(
        StepPlan(
            pipeline,
            step,
            len(runs[step_id]),
            sum(one.removable_bytes for one in runs[step_id]),
            min(one.last_used_at for one in runs[step_id]),
        )
        for step_id, pipeline, step in session.execute(names).tuples()
    )
