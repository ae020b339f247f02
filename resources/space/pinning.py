"""Pinning products so that no purge removes them. Those that a purge is just removing count as not found."""

from collections.abc import Sequence

from ccat_models.product import pins
from ccat_models.product.copies import select_named
from resources.location import Cluster


def pin(cluster: Cluster, names: Sequence[str], *, reason: str, by: str) -> pins.Pinned:
    """Pin the products that are named, before a purge decides or after it has marked what goes."""
    with cluster.ops_db.request() as session:
        return pins.pin(session, select_named(session, names), reason=reason, by=by, now=cluster.clock())
