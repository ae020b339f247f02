from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ccat_models.run.lease import Lease, renew_lease
from resources.errors import LeaseLost
from resources.location import Cluster
from resources.ops_db import Session


@dataclass(frozen=True)
class LeasedWrite:
    """Writes to ops-db that succeed only while this process holds the cluster's lease."""

    cluster: Cluster
    lease: Lease

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session as `OpsDb.write` does, in a transaction that renews the lease.

        No other process can take the lease before the transaction has ended. Raises LeaseLost where another one has.
        """
        cluster = self.cluster
        with cluster.ops_db.write() as session:
            if not renew_lease(session, self.lease, cluster.clock(), cluster.timing.lease):
                raise LeaseLost(f"{self.lease.holder} stood still for longer than its lease")
            yield session
