"""Attempts that reproduce runs: record them, wait until they have ended, or cancel them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ccat_models.contract.result import Result
from ccat_models.run import attempt as attempts_of
from ccat_models.run import reproducing
from ccat_models.tables.base import AttemptId, RunId
from ccat_models.tables.execution import Attempt, FailureClass
from resources.errors import OutputsUnusable, ResultUnreadable, TransientError
from resources.location import Cluster
from resources.run.batches import Prepared
from resources.run.executor import Executor
from resources.workspace.store import Found

_LOG = logging.getLogger(__name__)
_ABANDON_SECONDS = 90.0  # longer than any back end takes to end a job that it was asked to end

ProgressCallback = Callable[[int, int], None]  # called with the numbers of attempts that have ended and that run


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: its result and its files, or the `problem` that there is none."""

    result: Result | None = None
    found: Found | None = None
    problem: str = ""


@dataclass
class ScratchAttempts:
    """The attempts of one reproduction; this process's executor handles them, or that of the process with the lease."""

    executor: Executor
    poll_seconds: float
    sleep: Callable[[float], None] = time.sleep
    _all: list[AttemptId] = field(default_factory=list)
    _wanted_at: datetime | None = None

    @property
    def _cluster(self) -> Cluster:
        return self.executor.cluster

    def add(self, runs: Sequence[reproducing.Reproducing]) -> Mapping[RunId, AttemptId]:
        """Record an attempt for each run; return them by run.

        Call this before laying the attempts out: if this process dies, the executor finds their files by these rows.
        """
        if not runs:
            return {}
        now = self._cluster.clock()
        with self._cluster.ops_db.write() as session:
            added = reproducing.add_reproductions(session, runs, self._cluster.backend.name, now)
            self._all += added.values()
            reproducing.want(session, self._all, now)  # all at the same time, as their files are removed together
        self._wanted_at = now
        return added

    def start(self, prepared: Sequence[Prepared], problems: Mapping[AttemptId, str]) -> None:
        """Hand attempts that are laid out to the executor; record those in `problems` as failed, with the message."""
        with self._cluster.ops_db.write() as session:
            jobs = {item.attempt.id: (item.runtime, item.command) for item in prepared}
            reproducing.laid_out(session, jobs)
            for attempt, problem in problems.items():
                attempts_of.failed(session, attempt, FailureClass.STAGING, problem, self._cluster.clock())

    def wait(self, prepared: Sequence[Prepared], on_progress: ProgressCallback) -> Mapping[AttemptId, Ended]:
        """Run the executor until all attempts have ended, and return how they did."""
        waiting = {item.attempt.id: item for item in prepared}
        found: dict[AttemptId, Ended] = {}
        while waiting:
            self.keep_waiting()
            self.executor.tick()
            with self._cluster.ops_db.read() as session:
                ended = reproducing.ended(session, waiting)
                running = reproducing.running(session, waiting)
            new = self._look({attempt.id: attempt for attempt in ended}, waiting)
            found |= new
            waiting = {attempt: item for attempt, item in waiting.items() if attempt not in new}
            on_progress(len(found), running)
            if waiting:
                self.sleep(self.poll_seconds)
        return found

    def keep_waiting(self) -> None:
        """Record in ops-db that this process still waits for its attempts, well before that record expires."""
        now = self._cluster.clock()
        if self._wanted_at is None or now - self._wanted_at < reproducing.FORGOTTEN_AFTER / 6:
            return
        with self._cluster.ops_db.write() as session:
            reproducing.want(session, self._all, now)
        self._wanted_at = now

    def finish(self) -> None:
        """Record that the files need no more care by the executor, and give up the lease."""
        if self._all:
            with self._cluster.ops_db.write() as session:
                reproducing.seen_to(session, self._all)
            self.executor.release()

    def abandon(self) -> bool:
        """Cancel attempts that have not ended; say whether all have ended within `_ABANDON_SECONDS`."""
        if not self._all:
            return True
        with self._cluster.ops_db.write() as session:
            reproducing.give_up(session, self._all, self._cluster.clock())
        end = time.monotonic() + _ABANDON_SECONDS
        while time.monotonic() < end:
            self.executor.tick()
            with self._cluster.ops_db.read() as session:
                if len(reproducing.ended(session, self._all)) == len(self._all):
                    return True
            time.sleep(min(self.poll_seconds, 1.0))  # not `self.sleep`, which may raise after an interruption
        _LOG.warning("%s: jobs that do not end: the executor removes their files later", self._cluster.name)
        self.executor.release()
        return False

    def _look(self, ended: Mapping[AttemptId, Attempt], items: Mapping[AttemptId, Prepared]) -> dict[AttemptId, Ended]:
        """Return how these attempts ended, without those whose files cannot be read now."""
        places = {attempt: items[attempt].directory for attempt in ended}
        try:
            seen = self._cluster.store.look(places.values())
        except TransientError as error:
            _LOG.warning("%s: %s: asking again later", self._cluster.name, error)
            return {}
        return {
            id_: _ended(attempt, places[id_], seen[places[id_]])
            for id_, attempt in ended.items()
            if places[id_] in seen and not self._may_be_read_later(attempt, seen[places[id_]])
        }

    def _may_be_read_later(self, attempt: Attempt, seen: Found) -> bool:
        since = self._cluster.clock() - (attempt.finished_at or self._cluster.clock())
        return seen.trouble is not None and attempt.failure_class is None and since < self._cluster.timing.unread_after


def _ended(attempt: Attempt, place: Path, seen: Found) -> Ended:
    if attempt.failure_class is FailureClass.LOST:
        return Ended(problem=f"lost: {attempt.failure_message}")
    try:
        result = seen.result(place, attempt.submission_key)
    except (ResultUnreadable, OutputsUnusable) as error:
        return Ended(problem=str(error))
    if result is not None:
        return Ended(result, seen)
    return Ended(problem=attempt.failure_message or "cancelled: this process gave no sign of life for too long")
