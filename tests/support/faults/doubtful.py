"""Back ends that lose replies: fakes around the real local one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ccat_models.tables.execution import FailureClass
from resources.backend import Batch, Ending, Job, JobState, Node, Sent, Timing
from resources.errors import BackEndUnavailable, SubmissionDoubtful, SubmissionRefused, SubmissionTooLarge
from resources.local.backend import LocalBackEnd
from tests.support.worlds.observatory import FakeClock


@dataclass
class FakeDoubtfulBackEnd:
    """The local back end behind a bad line: submissions are answered by doubt, with or without having arrived."""

    real: LocalBackEnd
    doubts: int = 0  # so many submissions end in doubt
    arrives: bool = True  # whether those in doubt have arrived
    refusals: int = 0  # so many submissions are refused
    silences: int = 0  # so many look-ups find no job
    queued: list[Batch] | None = None  # a queue that starts nothing by itself
    blind: bool = False  # look-ups find no job
    deaf: bool = False  # cancelling fails
    never: bool = False  # what is queued will never run, and says so
    trouble: Mapping[int, Exception] = field(default_factory=dict)  # what batches of so many CPUs a job meet
    largest: int = 999  # jobs in one batch
    most: int = 999  # as many jobs of one batch are taken
    room: int = 999  # as many jobs are taken in all
    seconds_a_call: float = 0  # that a submission takes
    clock: FakeClock | None = None  # of which they pass
    sent: list[str] = field(default_factory=list)  # the keys of all that was asked for
    batches: list[Batch] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # for how many endings, at each call

    @property
    def name(self) -> str:
        """Return the real one's name."""
        return self.real.name

    @property
    def node(self) -> Node:
        """Return the real one's node."""
        return self.real.node

    @property
    def timing(self) -> Timing:
        """Return the real one's patience."""
        return self.real.timing

    def capacity(self) -> int:
        """Return the real one's capacity."""
        return self.real.capacity()

    @property
    def largest_batch(self) -> int:
        """Return the real one's largest batch."""
        return min(self.real.largest_batch, self.largest)

    def submit(self, batch: Batch) -> None:
        """Send jobs, or say that it is not known whether they were sent."""
        requests = batch.requests
        self.batches.append(batch)
        self.sent += [request.submission_key for request in requests]
        if self.clock is not None:
            self.clock.pass_seconds(self.seconds_a_call)
        if batch.shape.cpus in self.trouble:
            raise self.trouble[batch.shape.cpus]
        if len(requests) > min(self.most, self.room):
            raise SubmissionTooLarge("MaxSubmitJobsPerAccount")
        self.room -= len(requests)
        if self.refusals:
            self.refusals -= 1
            raise SubmissionRefused("the account has expired")
        if self.queued is not None:
            self.queued.append(batch)
        elif not self.doubts or self.arrives:
            self.real.submit(batch)
        if self.doubts:
            self.doubts -= 1
            raise SubmissionDoubtful("no reply")

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return the jobs there are, or say that it is not known."""
        if self.silences:
            self.silences -= 1
            raise BackEndUnavailable("no answer")
        wanted = {job.submission_key for job in sent}
        waiting = {request.submission_key for batch in self.queued or () for request in batch.requests} & wanted
        ending = Ending(FailureClass.PERMANENT, "bad constraints", {"reason": "BadConstraints"}, lingers=True)
        queued = {
            key: Job(key, "0", JobState.ENDED, ending=ending) if self.never else Job(key, "0", JobState.QUEUED)
            for key in waiting
        }
        return {} if self.blind else {**queued, **self.real.find(sent)}

    def start_queued(self) -> None:
        """Start the queued batches."""
        batches, self.queued = self.queued or [], None
        for batch in batches:
            self.real.submit(batch)

    def endings(self, gone: Collection[Sent]) -> Mapping[str, Ending]:
        """Return what the real one knows."""
        self.asked.append(len(gone))
        return self.real.endings(gone)

    def cancel(self, jobs: Collection[Job]) -> None:
        """Ask for jobs to end."""
        if self.deaf:
            raise BackEndUnavailable("access denied")
        gone = {job.submission_key for job in jobs}
        self.cancelled += sorted(gone)
        if self.queued is not None:
            self.queued = [batch for batch in self.queued if not gone & {r.submission_key for r in batch.requests}]
        self.real.cancel(jobs)
