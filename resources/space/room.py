"""How much space of a processing location is used, and freeing some: first staged raw data, then products."""

from dataclasses import dataclass

from ccat_models.run.room import used_bytes
from resources.location import Cluster
from resources.raw.let_go import AT_ONCE, let_go_or_log
from resources.space.purging import Freed, purge


@dataclass(frozen=True)
class Usage:
    """The used space of a location, in bytes; if `is_limited`, it is counted from rows, not from the file system."""

    used_bytes: int
    limit_bytes: int
    high_bytes: int | None
    low_bytes: int | None
    is_limited: bool

    @property
    def goal_bytes(self) -> int | None:
        """Return the low watermark in bytes, or the high one if there is no low one; None without watermarks."""
        return self.high_bytes if self.low_bytes is None else self.low_bytes

    @property
    def above_high(self) -> int:
        """Return how many bytes to free to reach `goal_bytes`; 0 if no more than the high watermark is used."""
        if self.high_bytes is None or self.goal_bytes is None or self.used_bytes <= self.high_bytes:
            return 0
        return max(0, self.used_bytes - self.goal_bytes)


def usage(cluster: Cluster) -> Usage:
    """Return what is used of the cluster's location; raise TransientError where its disk cannot be asked."""
    marks = cluster.watermarks
    if marks.limit_bytes is None:
        disk = cluster.store.disk()
        used, limit = disk.size_bytes - disk.free_bytes, disk.size_bytes
    else:
        with cluster.ops_db.read() as session:
            used, limit = used_bytes(session, cluster.location_id), marks.limit_bytes
    high = None if marks.high is None else marks.high.of(limit)
    low = None if marks.low is None else marks.low.of(limit)
    return Usage(used, limit, high, low, marks.limit_bytes is not None)


def make_room(cluster: Cluster, wanted_bytes: int, *, by: str, reason: str) -> Freed:
    """Free so many bytes, or as many as possible: first raw data that can be staged again, then products."""
    let_go_bytes = let_go_or_log(cluster, wanted_bytes, keep=AT_ONCE)
    if let_go_bytes >= wanted_bytes:
        return Freed(freed_bytes=let_go_bytes)
    return Freed(freed_bytes=let_go_bytes) + purge(cluster, wanted_bytes - let_go_bytes, by=by, reason=reason)
