from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from ccat_models.tables.execution import FailureClass


@dataclass(frozen=True)
class Shape:
    """What a job needs of a node; the jobs of one batch have the same shape."""

    cpus: int
    memory_gb: float
    time_limit_seconds: float | None
    gpus: int = 0
    options: Mapping[str, str] = field(default_factory=dict)  # the back end's own: partition, constraint, etc.

    def __hash__(self) -> int:
        return hash((self.cpus, self.memory_gb, self.time_limit_seconds, self.gpus, *sorted(self.options.items())))


@dataclass(frozen=True)
class JobRequest:
    """One attempt to be run by its wrapper; the key is the only name that survives a lost reply."""

    submission_key: str
    attempt_directory: Path
    index: int = 0  # its place in its batch; a batch that is sent again keeps its places


@dataclass(frozen=True)
class Batch:
    """Attempts that are sent in one go, under a key that was committed before."""

    key: str
    shape: Shape
    requests: Sequence[JobRequest]


@dataclass(frozen=True)
class Sent:
    """Where to look for an attempt's job: its own key, its batch's and its place there, and the id if it is known."""

    submission_key: str
    batch_key: str = ""
    index: int = 0
    job_id: str | None = None


class JobState(Enum):
    """What a back end says of a job that it has; UNKNOWN is a state that we have no word for."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.UNKNOWN)  # what may run, or does


@dataclass(frozen=True)
class Ending:
    """How a back end says that a job ended, for jobs that left no result of their own.

    A job that `lingers` will never run and stays in the queue until it is cancelled.
    """

    failure: FailureClass
    message: str
    evidence: Mapping[str, str] = field(default_factory=dict)  # state, exit code, reason, node: in its own words
    lingers: bool = False


@dataclass(frozen=True)
class Job:
    """A job that the back end has; one that has ended comes with its ending."""

    submission_key: str
    job_id: str
    state: JobState
    reason: str = ""  # why it waits, in the back end's own words
    ending: Ending | None = None


class BackEnd(Protocol):
    """Where attempts run. How a program ended is read from its result.json; from here only what left none."""

    @property
    def name(self) -> str:
        """Return the name that configuration and provenance use."""

    @property
    def largest_batch(self) -> int:
        """Return how many jobs one batch may have at most."""

    def capacity(self) -> int | None:
        """Return how many more jobs it takes now, None for no limit; raise BackEndUnavailable when unknown."""

    def submit(self, batch: Batch) -> str | None:
        """Send a batch and return its job id, if it has one.

        Raises SubmissionRefused or SubmissionPostponed if surely nothing was accepted, SubmissionDoubtful if it may
        have been.
        """

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return, by submission key, the jobs there are; raise BackEndUnavailable when it cannot be told."""

    def endings(self, gone: Collection[Sent]) -> Mapping[str, Ending]:
        """Return what is known of jobs that are no longer found; one that is missing here may have ended anyhow."""

    def cancel(self, jobs: Collection[Job]) -> None:
        """Ask for jobs to end, and no others; calling again presses harder."""
