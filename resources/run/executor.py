import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from threading import Lock

from ccat_models.run.lease import give_up_lease, observed_at, record_observed, take_lease
from ccat_models.run.work import (
    OpenAttempt,
    anything_ready,
    being_staged,
    latest_cancel_request,
    left_behind,
    open_attempts,
    open_reproductions,
    take_up,
)
from ccat_models.tables.execution import AttemptState, RunStatus
from resources.backend import Job
from resources.errors import LeaseLost, TransientError
from resources.location import Cluster
from resources.run.admission import AdmissionControl
from resources.run.holder import is_gone, own_name
from resources.run.leased_write import LeasedWrite
from resources.run.observer import ask, clear, observe, see_marks
from resources.run.scratch import remove_unwanted
from resources.run.submitter import submit

_LOG = logging.getLogger(__name__)
BATCH = 1000
_LEFT_FOR = timedelta(days=1)  # for so long after an attempt ended, its job is still looked for
_STAGED = (RunStatus.STAGING_DATA,)


@dataclass(frozen=True)
class Executor:
    """Executes the runs of one cluster: takes up what is requested, sends, observes and collects attempts.

    Any number of processes may call `tick`; only the one that holds the cluster's lease acts. All state is in ops-db:
    if that process dies, the next holder reads there what was begun, and asks the back end about it. Threads of one
    process share its lease; one of them acts at a time.
    """

    cluster: Cluster
    holder: str = field(default_factory=own_name)
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    @cached_property
    def _admission_control(self) -> AdmissionControl:
        return AdmissionControl(self.cluster)

    def tick(self) -> bool:
        """Do all work that is possible now; return False, having done nothing, if another process or thread acts."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return self._tick()
        finally:
            self._turn.release()

    def release(self) -> None:
        """Give up the lease, so that another process can take it; do nothing while another thread acts under it."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            with self.cluster.ops_db.write() as session:
                give_up_lease(session, self.cluster.name, self.holder)
        finally:
            self._turn.release()

    def _tick(self) -> bool:
        cluster = self.cluster
        now = cluster.clock()
        with cluster.ops_db.write() as session:
            lease = take_lease(session, cluster.name, self.holder, now, cluster.timing.lease, is_gone)
        if lease is None:
            return False
        try:
            self._act(LeasedWrite(cluster, lease))
        except LeaseLost as error:
            _LOG.warning("%s: %s: leaving it to who acts now", cluster.name, error)
            return False
        except TransientError as error:
            _LOG.warning("%s: %s: asking again later", cluster.name, error)
        return True

    def _act(self, leased: LeasedWrite) -> None:
        cluster = self.cluster
        see_marks(cluster)
        jobs = self._observe() if self._is_time() else None
        with cluster.ops_db.read() as session:
            again = open_reproductions(session, cluster.location_id, cluster.backend.name, cluster.clock())
        self._take_up(leased, sum(attempt.state is AttemptState.SENDING for attempt in again))
        with cluster.ops_db.read() as session:
            staging = open_attempts(session, cluster.location_id, cluster.backend.name, statuses=_STAGED)
        staging = [*staging, *self._admitted(again, len(staging))]
        if staging:
            submit(leased, staging, jobs)
        remove_unwanted(cluster)

    def _observe(self) -> Mapping[str, Job]:
        """Ask the back end about all jobs, record its answer, and return the jobs by submission key."""
        cluster = self.cluster
        with cluster.ops_db.read() as session:
            here = cluster.location_id, cluster.backend.name
            attempts = [*open_attempts(session, *here), *open_reproductions(session, *here, cluster.clock())]
            ended = left_behind(session, cluster.location_id, cluster.backend.name, cluster.clock() - _LEFT_FOR)
        jobs = ask(cluster, attempts, ended)
        observe(cluster, attempts, jobs)
        clear(cluster, ended, jobs)
        return jobs

    def _is_time(self) -> bool:
        """Say whether the back end may be asked now, and record that it is; a new request to cancel cannot wait."""
        cluster, now = self.cluster, self.cluster.clock()
        if not cluster.timing.observe_every:
            return True
        with cluster.ops_db.read() as session:
            last = observed_at(session, cluster.name)
            cancel_requested = latest_cancel_request(session, cluster.location_id, now)
        # `last` may be in the future if another process's clock is fast: abs() limits how long that delays us.
        if (
            last is not None
            and abs(now - last) < cluster.timing.observe_every
            and (cancel_requested is None or cancel_requested < last)
        ):
            return False
        with cluster.ops_db.write() as session:
            record_observed(session, cluster.name, now)
        return True

    def _take_up(self, leased: LeasedWrite, in_doubt: int) -> None:
        """Take up as many runs as the back end has capacity for; `in_doubt` reproductions may use some of it."""
        cluster = self.cluster
        with cluster.ops_db.read() as session:
            if not anything_ready(session, cluster.location_id, cluster.clock()):
                return
            waiting = being_staged(session, cluster.location_id, cluster.backend.name)
        free = self._capacity() - waiting - in_doubt
        if free > 0:
            only = None if cluster.watermarks.limit_bytes is None else self._admission_control.admitted(free)
            with leased.write() as session:
                take_up(session, cluster.location_id, cluster.backend.name, free, cluster.clock(), only)

    def _admitted(self, reproductions: Sequence[OpenAttempt], staging: int) -> list[OpenAttempt]:
        """Return the reproductions to submit now; the `staging` runs that are taken up use the capacity first."""
        unsent = [attempt for attempt in reproductions if attempt.run_status in _STAGED]
        new = [one for one in unsent if one.state is AttemptState.INTENDED and not one.cancel_requested]
        if not new:
            return unsent
        free = self._capacity() - staging - (len(unsent) - len(new))
        later = {attempt.id for attempt in new[max(free, 0) :]}
        return [attempt for attempt in unsent if attempt.id not in later]

    def _capacity(self) -> int:
        """Return how many more jobs may be sent in this tick."""
        capacity = self.cluster.backend.capacity()
        return BATCH if capacity is None else min(capacity, BATCH)
