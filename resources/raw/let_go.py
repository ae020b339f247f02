import logging
from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate

from ccat_models.raw import staging
from ccat_models.raw.staging import STAGED_DIRECTORY
from ccat_models.run import staged_copies
from ccat_models.run.staged_copies import StagedCopy, unneeded_copies
from resources.archive.stager import Arrived, NotBrought, Stager, staged_name
from resources.errors import ShellDoubtful, StagingFailed
from resources.location import Cluster

_LOG = logging.getLogger(__name__)
AT_ONCE = timedelta(0)  # also copies that were used just now


def let_go(cluster: Cluster, wanted_bytes: int | None = None, keep: timedelta | None = None) -> int:
    """Remove staged copies that no run needs, least recently used first, until so many bytes are free.

    Returns the number of freed bytes. Without a number, all such copies are removed. Removals that an earlier call
    has begun are finished first. Safe to repeat, and to call from several processes. Raises TransientError where
    the cluster's disk cannot be reached; the next call does the rest.
    """
    if cluster.stager is None:
        return 0
    _take_in(cluster, cluster.stager)
    cluster.stager.sweep()
    kept = cluster.staging_keep if keep is None else keep
    with cluster.ops_db.read() as session:
        begun = staged_copies.being_removed(session, cluster.location_id)
        marked = staged_copies.scheduled(session, cluster.location_id)
        chosen = enough(unneeded_copies(session, cluster.location_id, cluster.clock(), kept), wanted_bytes)
    if chosen:
        with cluster.ops_db.write() as session:
            staged_copies.mark(session, [copy.copy_id for copy in chosen])
    if chosen or marked:
        with cluster.ops_db.write() as session:
            staged_copies.settle(session, cluster.location_id)
        with cluster.ops_db.read() as session:
            begun = staged_copies.being_removed(session, cluster.location_id)
    return remove(cluster, begun)


def let_go_or_log(cluster: Cluster, wanted_bytes: int | None = None, keep: timedelta | None = None) -> int:
    """Let staged copies go, or log why that failed: a problem with staged data must not stop a purge of products."""
    try:
        return let_go(cluster, wanted_bytes, keep)
    except (StagingFailed, ShellDoubtful) as error:
        _LOG.warning("%s: staged raw data is kept: %s", cluster.name, error)
        return 0


def remove(cluster: Cluster, copies: Sequence[StagedCopy]) -> int:
    """Remove copies whose removal has begun, and record it; return the number of freed bytes."""
    if not copies or cluster.stager is None:
        return 0
    gone = cluster.stager.let_go({copy.path.rpartition("/")[2]: copy.job_id for copy in copies})
    removed = [copy for copy in copies if copy.path.rpartition("/")[2] in gone]
    with cluster.ops_db.write() as session:
        staged_copies.record_removed(session, [copy.copy_id for copy in removed])
    return sum(copy.size_bytes for copy in removed)


def _take_in(cluster: Cluster, stager: Stager) -> None:
    """Record the outcome of staging jobs whose runs have ended meanwhile."""
    with cluster.ops_db.read() as session:
        jobs = staging.jobs_without_reader(session, cluster.location_id)
    answers = stager.look({job.id: staged_name(job.package, job.checksum) for job in jobs})
    arrived, failed = {}, {}
    for job in jobs:
        answer = answers[job.id]
        if isinstance(answer, Arrived):
            arrived[job.id] = (f"{STAGED_DIRECTORY}/{staged_name(job.package, job.checksum)}", answer.transferred)
        elif isinstance(answer, NotBrought):
            failed[job.id] = (answer.message, answer.transferred)
        elif answer is None:
            failed[job.id] = (staging.GIVEN_UP_MESSAGE, 0)
    if arrived or failed:
        with cluster.ops_db.write() as session:
            staging.record_staged(session, arrived, cluster.location_id, cluster.clock())
            staging.record_failed(session, failed, cluster.clock())


def enough(copies: Sequence[StagedCopy], wanted_bytes: int | None) -> list[StagedCopy]:
    """Return the first copies that together have at least so many bytes; all copies if no number is given."""
    before = accumulate((copy.size_bytes for copy in copies), initial=0)
    return [copy for copy, so_far in zip(copies, before, strict=False) if wanted_bytes is None or so_far < wanted_bytes]
