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
    options: Mapping[str, str] = field(default_factory=dict)  # options of this back end: partition, constraint, etc.

    def __hash__(self) -> int:
        return hash((self.cpus, self.memory_gb, self.time_limit_seconds, self.gpus, *sorted(self.options.items())))


@dataclass(frozen=True)
class JobRequest:
    """One attempt for its wrapper to run; if the reply is lost, only the submission key identifies its job."""

    submission_key: str
    attempt_directory: Path
    index: int = 0  # its index in the batch, the same if the batch is sent again


@dataclass(frozen=True)
class Batch:
    """Attempts that are sent together; the key was committed to ops-db before."""

    key: str
    shape: Shape
    requests: Sequence[JobRequest]


@dataclass(frozen=True)
class Sent:
    """The names of an attempt's job: its own key, its batch's key and its index there, and the job id if known."""

    submission_key: str
    batch_key: str = ""
    index: int = 0
    job_id: str | None = None


class JobState(Enum):
    """The state of a job that a back end has; UNKNOWN is for every state without another name here."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


ALIVE = (JobState.QUEUED, JobState.RUNNING, JobState.UNKNOWN)  # jobs that run or may still run


@dataclass(frozen=True)
class Ending:
    """How a job ended according to the back end; used if the attempt left no result that explains it.

    A job that `lingers` will never run, but stays in the queue until it is cancelled.
    """

    failure: FailureClass
    message: str
    evidence: Mapping[str, str] = field(default_factory=dict)  # state, exit code, reason, node, in the back end's words
    lingers: bool = False


@dataclass(frozen=True)
class Job:
    """A job that the back end has; for an ended job, `ending` says how it ended if that is known."""

    submission_key: str
    job_id: str
    state: JobState
    reason: str = ""  # why it waits, in the back end's words
    ending: Ending | None = None


@dataclass(frozen=True)
class Node:
    """What jobs find on the machine that a back end runs them on."""

    python: str  # the interpreter of wrappers and of "{python}" in commands
    apptainer: str | None = None  # None where there is none
    job_id_variable: str | None = None  # the environment variable in which a wrapper finds its job's id
    leaves_marks: bool = False  # wrappers leave a mark when they end: it is noticed without asking the back end


@dataclass(frozen=True)
class Timing:
    """How long the holder of a cluster's lease waits before it acts."""

    lease: timedelta = timedelta(seconds=30)  # how long the lease is valid
    resend_after: timedelta = timedelta(seconds=5)  # a job in doubt that the back end does not know is sent again
    lost_after: timedelta = timedelta(seconds=10)  # a job that the back end lacks, without a result, is lost
    observe_every: timedelta = timedelta(0)  # least time between two questions to the back end
    alive_within: timedelta = timedelta(0)  # a wrapper with so recent a heartbeat is alive, whatever the queue says
    stuck_after: timedelta = timedelta(seconds=30)  # a run without room fails, if no room can be made for so long
    unread_after: timedelta = timedelta(hours=1)  # an attempt whose files cannot be read for so long has failed


class BackEnd(Protocol):
    """What executes jobs. How a program ended is read from its result.json; a back end is asked if there is none."""

    @property
    def name(self) -> str:
        """Return the name in configuration and provenance."""

    @property
    def node(self) -> Node:
        """Return what jobs find on the machine where they run."""

    @property
    def timing(self) -> Timing:
        """Return the default times for this back end; settings may override them."""

    @property
    def largest_batch(self) -> int:
        """Return how many jobs one batch may have at most."""

    def capacity(self) -> int | None:
        """Return how many more jobs it takes now, None for no limit; raise BackEndUnavailable if that is unknown."""

    def submit(self, batch: Batch) -> str | None:
        """Send a batch and return its job id, if it has one.

        Raises SubmissionRefused or SubmissionPostponed if certainly no job was accepted, and SubmissionDoubtful if
        jobs may have been.
        """

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return the jobs that it has, by submission key; raise BackEndUnavailable if that is unknown."""

    def endings(self, gone: Collection[Sent]) -> Mapping[str, Ending]:
        """Return how jobs ended that `find` no longer returns, by submission key; any of them may be missing."""

    def cancel(self, jobs: Collection[Job]) -> None:
        """Ask for these jobs to end; a later call may use a stronger signal."""
