from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
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


@dataclass(frozen=True)
class Node:
    """What jobs find on the machine that a back end runs them on."""

    python: str  # the interpreter of wrappers and of "{python}" in commands
    apptainer: str | None = None  # None where there is none
    job_id_variable: str | None = None  # the environment variable in which a wrapper finds its job's id
    leaves_marks: bool = False  # wrappers that have ended leave a mark, so that nobody needs to ask the back end


@dataclass(frozen=True)
class Timing:
    """How patient the one who holds a cluster's lease is."""

    lease: timedelta = timedelta(seconds=30)
    resend_after: timedelta = timedelta(seconds=5)  # a job in doubt that the back end does not know is sent again
    lost_after: timedelta = timedelta(seconds=10)  # a job that is nowhere and has no result is lost
    observe_every: timedelta = timedelta(0)  # the back end is asked no more often
    alive_within: timedelta = timedelta(0)  # a wrapper with a sign of life so young is alive, whatever the queue says
    stuck_after: timedelta = timedelta(seconds=30)  # a run that nothing makes room for, and nothing moves, has failed
    unread_after: timedelta = timedelta(hours=1)  # a result or outputs that the disk does not give are given up


class BackEnd(Protocol):
    """Where attempts run. How a program ended is read from its result.json; from here only what left none."""

    @property
    def name(self) -> str:
        """Return the name that configuration and provenance use."""

    @property
    def node(self) -> Node:
        """Return what jobs find where they run."""

    @property
    def timing(self) -> Timing:
        """Return how patient it asks to be treated, where nobody has set it otherwise."""

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
