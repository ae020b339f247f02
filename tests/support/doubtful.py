"""Back ends that lose replies: fakes around the real local one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from resources.backend import Job, JobRequest, JobState
from resources.errors import BackEndUnavailable, SubmissionDoubtful, SubmissionRefused
from resources.local import LocalBackEnd


@dataclass
class FakeDoubtfulBackEnd:
    """The local back end behind a bad line: submissions are answered by doubt, with or without having arrived."""

    real: LocalBackEnd
    doubts: int = 0  # so many submissions end in doubt
    arrives: bool = True  # whether those in doubt have arrived
    refusals: int = 0  # so many submissions are refused
    silences: int = 0  # so many look-ups find nobody
    queued: list[JobRequest] | None = None  # a queue that starts nothing until it is told to
    blind: bool = False  # look-ups find no job
    sent: list[str] = field(default_factory=list)  # the keys of all that was asked for

    @property
    def name(self) -> str:
        """Return the real one's name."""
        return self.real.name

    def capacity(self) -> int:
        """Return the real one's capacity."""
        return self.real.capacity()

    def submit(self, requests: Sequence[JobRequest]) -> None:
        """Send jobs, or say that it is not known whether they were sent."""
        self.sent += [request.submission_key for request in requests]
        if self.refusals:
            self.refusals -= 1
            raise SubmissionRefused("the account has expired")
        if self.queued is not None:
            self.queued += requests
        elif not self.doubts or self.arrives:
            self.real.submit(requests)
        if self.doubts:
            self.doubts -= 1
            raise SubmissionDoubtful("no reply")

    def find(self, submission_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs there are, or say that it is not known."""
        if self.silences:
            self.silences -= 1
            raise BackEndUnavailable("no answer")
        waiting = {request.submission_key for request in self.queued or ()} & set(submission_keys)
        queued = {key: Job(key, "0", JobState.QUEUED) for key in waiting}
        return {} if self.blind else {**queued, **self.real.find(submission_keys)}

    def start_queued(self) -> None:
        """Start what is in the queue."""
        requests, self.queued = self.queued or [], None
        self.real.submit(requests)

    def cancel(self, submission_keys: Collection[str]) -> None:
        """Ask for jobs to end."""
        self.real.cancel(submission_keys)
