import logging
from dataclasses import dataclass, field

from ccat_models.run.lease import release_lease, take_lease
from ccat_models.run.work import open_attempts, take_up
from ccat_models.tables.execution import RunStatus
from resources.cluster import Cluster
from resources.errors import AskAgain
from resources.holder import is_gone, own_name
from resources.observer import observe
from resources.submitter import submit

_LOG = logging.getLogger(__name__)
BATCH = 200


@dataclass(frozen=True)
class Executor:
    """Moves the runs of one cluster on: takes them up, sends, observes and collects them.

    Any number of processes may call `tick`; only the one that holds the cluster's lease acts. It keeps nothing in
    memory: whatever a process that died had begun, the next one finds in ops-db and asks the back end about.
    """

    cluster: Cluster
    holder: str = field(default_factory=own_name)

    def tick(self) -> bool:
        """Do what is to be done now; say whether it was for this process to do."""
        cluster = self.cluster
        now = cluster.clock()
        with cluster.ops_db.write() as session:
            if not take_lease(session, cluster.name, self.holder, now, cluster.timing.lease, is_gone):
                return False
        cluster.passing("lease taken")
        try:
            self._act()
        except AskAgain as error:
            _LOG.warning("%s: %s: asking again later", cluster.name, error)
        return True

    def release(self) -> None:
        """Give the lease to whoever comes next."""
        with self.cluster.ops_db.write() as session:
            release_lease(session, self.cluster.name, self.holder)

    def _act(self) -> None:
        cluster = self.cluster
        with cluster.ops_db.read() as session:
            attempts = open_attempts(session, cluster.backend.name)
        observe(cluster, attempts)
        self._take_up(sum(attempt.run_status is RunStatus.STAGING_DATA for attempt in attempts))
        with cluster.ops_db.read() as session:
            attempts = open_attempts(session, cluster.backend.name)
        submit(cluster, attempts)

    def _take_up(self, waiting: int) -> None:
        cluster = self.cluster
        capacity = cluster.backend.capacity()
        free = (BATCH if capacity is None else min(capacity, BATCH)) - waiting
        if free > 0:
            with cluster.ops_db.write() as session:
                take_up(session, cluster.backend.name, free, cluster.clock())
            cluster.passing("taken up")
