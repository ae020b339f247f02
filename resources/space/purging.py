"""Purging products: they are marked in one transaction, their files removed, and the removal confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ccat_models.gap.look import has_due, leave_due, look
from ccat_models.pipeline.view import list_pipelines
from ccat_models.product import pins
from ccat_models.product.copies import select_named
from ccat_models.product.disk_rows import newest_copies
from ccat_models.product.purge import Marked, Purpose, confirm, mark, marked_runs, record_problem
from ccat_models.product.removable import Picked, StepPicked, choose, picked_by_step
from ccat_models.sub_group.follow import follow_packages
from ccat_models.tables.base import RunId
from resources.errors import DiskNotThere
from resources.location import Cluster
from resources.ops_db import Session
from resources.workspace.store import Wanted

_RUNS_A_CALL = 200  # runs whose files are removed and confirmed together
_FILES_A_CALL = 5_000
_LOOKED_AT = 50  # products, to find out whether the disk is mounted


@dataclass(frozen=True)
class Freed:
    """What a purge has removed; `left_bytes` is marked and could not be removed yet, for the reason given."""

    purge_id: int | None = None
    freed_bytes: int = 0
    freed_runs: int = 0
    left_bytes: int = 0
    problem: str | None = None

    def __add__(self, more: "Freed") -> "Freed":
        """Return the sum of two results."""
        sums = (self.freed_bytes + more.freed_bytes, self.freed_runs + more.freed_runs)
        number = more.purge_id if self.purge_id is None else self.purge_id
        return Freed(number, *sums, self.left_bytes + more.left_bytes, self.problem or more.problem)


def pin(cluster: Cluster, names: Sequence[str], *, reason: str, by: str) -> pins.Pinned:
    """Pin named products, before a purge decides or after it has marked what it removes.

    Products that such a purge removes count as not found.
    """
    with cluster.ops_db.request() as session:
        return pins.pin(session, select_named(session, names), reason=reason, by=by, now=cluster.clock())


def removable(cluster: Cluster, wanted_bytes: int) -> list[StepPicked]:
    """Return by step what a purge for so much room would remove now; no product is touched."""
    with cluster.ops_db.request() as session:
        _choose(session, cluster, wanted_bytes)
        return picked_by_step(session)


def purge(cluster: Cluster, wanted_bytes: int, *, by: str, reason: str) -> Freed:
    """Remove products to free so many bytes, or as many as may be removed; finish earlier purges first.

    Raises TransientError where the location cannot be reached, or its disk does not seem to be there: what is marked
    then is removed later.
    """
    finish(cluster)
    check_mounted(cluster)
    with cluster.ops_db.request() as session:
        chosen, now = _choose(session, cluster, wanted_bytes), cluster.clock()
        if not chosen.runs:
            return Freed()
        marked = mark(session, cluster.location_id, chosen, Purpose(wanted_bytes, by, reason), now)
    return replace(finish(cluster), purge_id=marked.id)


def finish(cluster: Cluster, *, even_if_nothing_is_there: bool = False) -> Freed:
    """Remove the files of all runs that are marked by any process, and confirm those that are gone.

    Raises TransientError where the location cannot be reached, or its disk does not seem to be there.
    """
    freed, last = Freed(), RunId(0)
    while True:
        with cluster.ops_db.read() as session:
            marked = marked_runs(session, cluster.location_id, after=last, limit=_RUNS_A_CALL)
        if not marked:
            return freed
        if not (last or even_if_nothing_is_there):
            check_mounted(cluster)
        freed, last = freed + _remove(cluster, marked), marked[-1].run_id


def check_mounted(cluster: Cluster) -> None:
    """Raise DiskNotThere where a cluster's location should have products, and none of the newest ones exists.

    To be called before a missing file is taken for removed: an empty mount point has no files at all.
    """
    with cluster.ops_db.read() as session:
        paths = newest_copies(session, cluster.location_id, _LOOKED_AT)
    parts = cluster.store.read([Wanted(cluster.base, path) for path in paths])
    if paths and not any(parts):
        raise DiskNotThere(
            f"none of the {len(paths)} newest products is below {cluster.base}: see whether its disk is mounted"
        )


def _choose(session: Session, cluster: Cluster, wanted_bytes: int) -> Picked:
    now = cluster.clock()
    look_at_all(session, now)
    return choose(session, cluster.location_id, wanted_bytes, now)


def look_at_all(session: Session, now: datetime) -> None:
    """Bring the gaps of all pipelines up to date, in a request's transaction, without asking for any run."""
    follow_packages(session, now)
    for pipeline in list_pipelines(session):
        due = has_due(session, pipeline, now)
        look(session, pipeline, now)
        if due:
            leave_due(session, pipeline)


def _remove(cluster: Cluster, marked: Sequence[Marked]) -> Freed:
    gone, problems = unlink(cluster, [path for run in marked for path in run.paths])
    done = [run for run in marked if gone.issuperset(run.paths)]
    left = [run for run in marked if not gone.issuperset(run.paths)]
    problem = next(iter(problems.values()), None)
    with cluster.ops_db.write() as session:
        confirm(session, cluster.location_id, done, cluster.clock())
        if problem is not None:
            record_problem(session, left, problem)
    sizes = (sum(run.removable_bytes for run in runs) for runs in (done, left))
    return Freed(None, next(sizes), len(done), next(sizes), problem)


def unlink(cluster: Cluster, paths: Sequence[str]) -> tuple[set[str], dict[str, str]]:
    """Remove files below the cluster's base; return those that are gone, and of the others why they are not."""
    gone, problems, left = set[str](), dict[str, str](), set(paths)
    while left:
        some_gone, some_problems = cluster.store.unlink(sorted(left)[:_FILES_A_CALL])
        gone |= some_gone
        problems |= some_problems
        left -= some_gone | some_problems.keys()
    return gone, problems
