"""Attempts that nobody but their starter knows of, run to their end on any back end: ops-db is not told."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from ccat_models.contract.result import Result
from ccat_models.run.submission import MOST_SENDS, Step, SubmissionState, next_step
from ccat_models.tables.execution import AttemptState
from resources.backend import ALIVE, Batch, Job, JobState
from resources.errors import (
    OutputsUnusable,
    ResultUnreadable,
    ShellUnavailable,
    SubmissionDoubtful,
    SubmissionPostponed,
    SubmissionRefused,
    TransientError,
)
from resources.location import Cluster
from resources.run.batches import Prepared, batches_of, sent_as
from resources.workspace.store import Found

_LOG = logging.getLogger(__name__)
_ABANDON_SECONDS = 90.0  # longer than any back end takes to end a job that it was asked to end

ProgressCallback = Callable[[int, int], None]  # told how many jobs have ended, and how many run


@dataclass(frozen=True)
class Ended:
    """How a job ended: its result and what it left, or why there is none."""

    result: Result | None = None
    found: Found | None = None
    problem: str = ""


@dataclass
class _Sent:
    item: Prepared
    at: datetime
    known: bool  # whether the back end is known to have it, or to have had it
    missing_since: datetime | None = None

    @property
    def key(self) -> str:
        return self.item.attempt.submission_key

    @property
    def directory(self) -> Path:
        return self.item.plan.directory.path


@dataclass
class ScratchJobs:
    """Jobs of attempts that are laid out; whoever starts them stays until they have ended, or ends them."""

    cluster: Cluster
    poll_seconds: float
    on_progress: ProgressCallback
    sleep: Callable[[float], None] = time.sleep
    _unsent: list[Prepared] = field(default_factory=list)
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _ended: dict[str, Ended] = field(default_factory=dict)

    def run(self, prepared: Sequence[Prepared]) -> Mapping[str, Ended]:
        """Run attempts, each once, and return by submission key how they ended.

        Whatever interrupts this ends the jobs first.
        """
        self._unsent = list(prepared)
        try:
            while True:
                self._round()
                if not self._unsent and not self._sent:
                    return self._ended
                self.sleep(self.poll_seconds)
        except BaseException:
            self._abandon()
            raise

    def _round(self) -> None:
        try:
            self._send()
            if self._sent:
                self._observe(self.cluster.backend.find([sent_as(one.item.attempt) for one in self._sent.values()]))
        except TransientError as error:
            _LOG.warning("%s: %s: asking again later", self.cluster.name, error)

    def _send(self) -> None:
        """Send what there is room for; nothing while it is in doubt what became of something that was sent."""
        if not self._unsent or any(not one.known for one in self._sent.values()):
            return
        free = self.cluster.backend.capacity()
        some = self._unsent if free is None else self._unsent[: max(free, 0)]
        for batch, items in batches_of(some, self.cluster.backend.largest_batch):
            if not self._send_batch(batch, items):
                return

    def _send_batch(self, batch: Batch, items: Sequence[Prepared]) -> bool:
        """Send a batch and say whether another one may follow."""
        sent = self._note(batch, items)  # before it is sent: whatever interrupts that, it is looked for
        try:
            job_id = self.cluster.backend.submit(batch)
        except SubmissionDoubtful as error:
            _LOG.warning("%s: %s: looking for it", self.cluster.name, error)
            return False
        except (SubmissionPostponed, ShellUnavailable):
            self._take_back(sent, items)
            return False
        except SubmissionRefused as refusal:
            for one in sent:
                self._end(one, Ended(problem=str(refusal)))
            return True
        for one, request in zip(sent, batch.requests, strict=True):
            one.known = True
            task = None if job_id is None else f"{job_id}_{request.index}"
            one.item = replace(one.item, attempt=replace(one.item.attempt, job_id=task))
        return True

    def _note(self, batch: Batch, items: Sequence[Prepared]) -> list[_Sent]:
        sent = []
        for item, request in zip(items, batch.requests, strict=True):
            before = item.attempt
            attempt = replace(before, batch_key=batch.key, batch_index=request.index, sends=before.sends + 1)
            sent.append(_Sent(replace(item, attempt=attempt), self.cluster.clock(), known=False))
        self._sent |= {one.key: one for one in sent}
        self._unsent = [item for item in self._unsent if item.attempt.submission_key not in self._sent]
        return sent

    def _take_back(self, sent: Sequence[_Sent], items: Sequence[Prepared]) -> None:
        for one in sent:
            del self._sent[one.key]
        self._unsent = [*items, *self._unsent]

    def _observe(self, jobs: Mapping[str, Job]) -> None:
        """See how far the jobs are: the queue was asked first, so that what ends in between is seen next time."""
        gone = []
        for key, one in self._sent.items():
            if key in jobs and jobs[key].state in ALIVE:
                one.known, one.missing_since = True, None
            else:
                gone.append(one)
        found = self.cluster.store.look([one.directory for one in gone])
        for one in gone:
            if one.directory in found:
                self._see(one, found[one.directory], jobs.get(one.key))
        self.on_progress(len(self._ended), sum(job.state is JobState.RUNNING for job in jobs.values()))

    def _see(self, one: _Sent, seen: Found, job: Job | None) -> None:
        if seen.trouble is not None and not self._is_given_up(one):
            return
        if not seen.is_silent:
            self._end(one, _ended(one, seen))
        elif job is not None and job.ending is not None and job.ending.lingers:
            self.cluster.store.claim([one.directory])
            self.cluster.backend.cancel([job])
            self._end(one, Ended(problem=f"{job.ending.message}; it never began"))
        elif not one.known:
            self._look_for(one, seen, job)
        elif self._is_lost(one, seen):
            began = "it never began" if self.cluster.store.claim([one.directory]) else "it had begun"
            told = job and job.ending
            ending = told or self.cluster.backend.endings([sent_as(one.item.attempt)]).get(one.key)
            story = "not in the queue and without a result" if ending is None else ending.message
            self._end(one, Ended(problem=f"lost: {story}; {began}"))

    def _look_for(self, one: _Sent, seen: Found, job: Job | None) -> None:
        """Decide about a job of which it is in doubt whether the back end has it: the submission protocol."""
        waited = self.cluster.clock() - one.at
        submission = SubmissionState(
            AttemptState.SENDING, False, job is not None, seen.claimed, waited, one.item.attempt.sends
        )
        step = next_step(submission, self.cluster.timing.resend_after)
        if step is Step.ACCEPT:
            one.known = True
        elif step is Step.SEND:  # under the same key: whichever comes second finds the claim
            self._unsent.insert(0, one.item)
            del self._sent[one.key]
        elif step is Step.GIVE_UP:
            self.cluster.store.claim([one.directory])
            self._end(one, Ended(problem=f"sent {MOST_SENDS} times, and {self.cluster.backend.name} never knew of it"))

    def _is_lost(self, one: _Sent, seen: Found) -> bool:
        timing = self.cluster.timing
        return self._missing(one) > timing.lost_after and not seen.lives(timing.alive_within)

    def _is_given_up(self, one: _Sent) -> bool:
        """Say whether the disk has not given what a job left for too long."""
        return self._missing(one) > self.cluster.timing.unread_after

    def _missing(self, one: _Sent) -> timedelta:
        now = self.cluster.clock()
        one.missing_since = one.missing_since or now
        return now - one.missing_since

    def _end(self, one: _Sent, ended: Ended) -> None:
        self._ended[one.key] = ended
        del self._sent[one.key]

    def _abandon(self) -> None:
        """See to it that what has not begun never does, and end what runs."""
        self.cluster.store.claim([one.directory for one in self._sent.values()])
        sent = [sent_as(one.item.attempt) for one in self._sent.values()]
        end = time.monotonic() + _ABANDON_SECONDS
        while sent and time.monotonic() < end:
            try:
                alive = [job for job in self.cluster.backend.find(sent).values() if job.state in ALIVE]
                if not alive:
                    return
                self.cluster.backend.cancel(alive)
            except TransientError as error:
                _LOG.warning("%s: %s: not cancelled yet", self.cluster.name, error)
            time.sleep(min(self.poll_seconds, 1.0))  # not the caller's: that may be interrupted already
        if sent:
            _LOG.warning("%s: jobs that do not end: %s", self.cluster.name, ", ".join(one.batch_key for one in sent))


def _ended(one: _Sent, seen: Found) -> Ended:
    try:
        return Ended(seen.result(one.directory, one.key), seen)
    except (ResultUnreadable, OutputsUnusable) as error:
        return Ended(problem=str(error))
