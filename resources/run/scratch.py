"""The directories in which runs are reproduced, apart from all registered files, and their removal."""

import logging
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePath

from ccat_models.run.reproducing import Lapsed, lapsed, seen_to
from resources.location import Cluster

_LOG = logging.getLogger(__name__)


def scratch_of(cluster: Cluster) -> Path:
    """Return the directory that holds one directory for each reproduction."""
    return cluster.base / ".reproduce"


def remove_scratch(cluster: Cluster, directories: Collection[Path]) -> bool:
    """Remove directories below the scratch of reproductions; say whether all of them are gone."""
    root = scratch_of(cluster)
    left = {directory.relative_to(root).as_posix() for directory in directories}
    while left:
        gone = cluster.store.remove(root, left)
        if not gone:
            _LOG.warning("%s: not removed: %s", root, ", ".join(sorted(left)))
            return False
        left -= gone
    return True


def remove_unwanted(cluster: Cluster) -> None:
    """Remove the files of reproductions whose processes no longer wait, once all their attempts have ended."""
    with cluster.ops_db.read() as session:
        found = lapsed(session, cluster.location_id, cluster.clock())
    root, by_reproduction = scratch_of(cluster), defaultdict[Path, list[Lapsed]](list)
    for attempt in found:
        directory = PurePath(attempt.directory)
        if directory.is_relative_to(root) and directory != root:
            by_reproduction[root / directory.relative_to(root).parts[0]].append(attempt)
    for scratch, attempts in by_reproduction.items():
        if all(attempt.has_ended for attempt in attempts) and remove_scratch(cluster, [scratch]):
            with cluster.ops_db.write() as session:
                seen_to(session, [attempt.id for attempt in attempts])
