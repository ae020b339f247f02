"""Plan ahead for a purge: what it would remove now, and why it would keep the rest."""

from dataclasses import dataclass

from ccat_models.product.kept import Held, StepHeld, by_cause, held
from ccat_models.product.removable import StepPicked
from ccat_models.run.staged_copies import unneeded_copies
from resources.location import Cluster
from resources.raw.let_go import AT_ONCE, enough
from resources.space.purging import look_at_all, removable


@dataclass(frozen=True)
class Plan:
    """What would be removed to free a number of bytes: staged raw data first, then products."""

    wanted_bytes: int
    staged_packages: int
    staged_bytes: int
    steps: tuple[StepPicked, ...]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes that would free."""
        return self.staged_bytes + sum(step.size_bytes for step in self.steps)


def plan(cluster: Cluster, wanted_bytes: int) -> Plan:
    """Return what would be removed to free so many bytes."""
    with cluster.ops_db.read() as session:
        copies = unneeded_copies(session, cluster.location_id, cluster.clock(), AT_ONCE) if cluster.stager else []
    staged = enough(copies, wanted_bytes)
    staged_bytes = sum(copy.size_bytes for copy in staged)
    left = wanted_bytes - staged_bytes
    steps = removable(cluster, left) if left > 0 else []
    return Plan(wanted_bytes, len(staged), staged_bytes, tuple(steps))


def kept(cluster: Cluster) -> list[Held]:
    """Return by cause what a purge would keep, and, with no cause, all that it could remove."""
    return by_cause(kept_by_step(cluster))


def kept_by_step(cluster: Cluster) -> list[StepHeld]:
    """Return the same as `kept`, for each step."""
    with cluster.ops_db.request() as session:
        now = cluster.clock()
        look_at_all(session, now)
        return held(session, cluster.location_id, now)
