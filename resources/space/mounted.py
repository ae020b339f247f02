from ccat_models.product.disk_rows import newest_copies
from resources.errors import DiskNotThere
from resources.location import Cluster
from resources.workspace.store import Wanted

_LOOKED_AT = 50


def check_mounted(cluster: Cluster) -> None:
    """Raise DiskNotThere where a cluster's location should have products, and none of the newest ones exists.

    Whoever is about to take a file that is not there for removed asks this first: an empty mount point has none.
    """
    with cluster.ops_db.read() as session:
        paths = newest_copies(session, cluster.location_id, _LOOKED_AT)
    parts = cluster.store.read([Wanted(cluster.base, path) for path in paths])
    if paths and not any(parts):
        raise DiskNotThere(
            f"none of the {len(paths)} newest products is below {cluster.base}: see whether its disk is mounted"
        )
