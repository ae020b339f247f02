"""What a purge would do now, and why no more: nothing is changed."""

from dataclasses import dataclass

from ccat_models.product.kept import Held, StepHeld, by_cause, held
from ccat_models.product.removable import StepPicked
from ccat_models.run.staged_copies import unneeded_copies
from resources.location import Cluster
from resources.raw.let_go import AT_ONCE, enough
from resources.space.purging import look_at_all, removable


@dataclass(frozen=True)
class Plan:
    """What would be removed for so much room: staged raw data first, then products."""

    wanted_bytes: int
    staged_packages: int
    staged_bytes: int
    steps: tuple[StepPicked, ...]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes would be free then."""
        return self.staged_bytes + sum(step.size_bytes for step in self.steps)


def plan(cluster: Cluster, wanted_bytes: int) -> Plan:
    """Return what making so much room would remove."""
    with cluster.ops_db.read() as session:
        copies = unneeded_copies(session, cluster.location_id, cluster.clock(), AT_ONCE) if cluster.stager else []
    staged = enough(copies, wanted_bytes)
    staged_bytes = sum(copy.size_bytes for copy in staged)
    left = wanted_bytes - staged_bytes
    steps = removable(cluster, left) if left > 0 else []
    return Plan(wanted_bytes, len(staged), staged_bytes, tuple(steps))


def kept(cluster: Cluster) -> list[Held]:
    """Return by cause what a purge would leave, and, without a cause, what all it could remove."""
    return by_cause(kept_by_step(cluster))


def kept_by_step(cluster: Cluster) -> list[StepHeld]:
    """Return the same of each step."""
    with cluster.ops_db.request() as session:
        now = cluster.clock()
        look_at_all(session, now)
        return held(session, cluster.location_id, now)
