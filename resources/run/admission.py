"""Admission control: where the disk space of a location is limited, say which runs may start, and make room."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from ccat_models.run import attempt as attempts_of
from ccat_models.run.room import Admission, Waiting, admit
from ccat_models.run.work import intended_attempt, take_up
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import FailureClass
from resources.location import Cluster
from resources.space.room import Usage, make_room, usage

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS = 2.0  # between two tries to make room, after one that freed nothing


@dataclass
class AdmissionControl:
    """Says which runs may begin at a location. Only the holder of the cluster's lease may ask."""

    cluster: Cluster
    _made_room_at: float = float("-inf")
    _stuck_since: datetime | None = None  # since when no run is in flight and nothing can be removed

    def admitted(self, limit: int) -> Collection[RunId]:
        """Return the runs that there is room for, at most `limit`; if there is room for none, make some.

        If no room can be made and no run is in flight for `Timing.stuck_after`, the run that waits first fails.
        """
        admission, used = self._admit(limit)
        if admission.first is None or admission.run_ids or admission.in_flight:
            self._stuck_since = None
        if admission.first is None or admission.run_ids:
            return admission.run_ids
        if time.monotonic() - self._made_room_at < _LOOK_AGAIN_SECONDS:
            return ()
        wanted = admission.first.needed_bytes - admission.free_bytes
        if used.low_bytes is not None:
            wanted = max(wanted, used.used_bytes - used.low_bytes)
        freed = make_room(self.cluster, wanted, by="executor", reason=f"run {admission.first.run_id} waits for room")
        self._made_room_at = float("-inf") if freed.freed_bytes else time.monotonic()
        if freed.freed_bytes:
            return self._admit(limit)[0].run_ids
        if not admission.in_flight and self._is_stuck():
            self._refuse(admission.first, used)
        return ()

    def _is_stuck(self) -> bool:
        now = self.cluster.clock()
        self._stuck_since = self._stuck_since or now
        return now - self._stuck_since >= self.cluster.timing.stuck_after

    def _admit(self, limit: int) -> tuple[Admission, Usage]:
        cluster = self.cluster
        used = usage(cluster)
        with cluster.ops_db.read() as session:
            free = used.limit_bytes - used.used_bytes
            return admit(session, cluster.location_id, free, limit, cluster.clock()), used

    def _refuse(self, waiting: Waiting, used: Usage) -> None:
        cluster, free = self.cluster, used.limit_bytes - used.used_bytes
        message = (
            f"no room: {waiting.needed_bytes} bytes are needed, {max(free, 0)} of {used.limit_bytes} are free, and "
            "nothing more may go now: `ccat space` tells why; raise space_limit, or give up what is kept"
        )
        _LOG.warning("%s: run %d: %s", cluster.name, waiting.run_id, message)
        with cluster.ops_db.write() as session:
            now = cluster.clock()
            if take_up(session, cluster.location_id, cluster.backend.name, 1, now, [waiting.run_id]):
                attempt_id = intended_attempt(session, waiting.run_id)
                attempts_of.failed(session, attempt_id, FailureClass.STAGING, message, now)
