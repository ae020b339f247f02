from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class JobRequest:
    """One attempt to be run by its wrapper; the key is the only name that survives a lost reply."""

    submission_key: str
    attempt_directory: Path
    cpus: int
    memory_gb: float
    time_limit_seconds: float | None


class JobState(Enum):
    """What a back end says of a job that it has; UNKNOWN is a state that we have no word for."""

    QUEUED = "queued"
    RUNNING = "running"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Job:
    """A job in the queue or running."""

    submission_key: str
    job_id: str
    state: JobState


class BackEnd(Protocol):
    """Where attempts run. How one ended is read from its result.json, never from here."""

    @property
    def name(self) -> str:
        """Return the name that configuration and provenance use."""

    def capacity(self) -> int | None:
        """Return how many more jobs it takes now, None for no limit; raise BackEndUnavailable when unknown."""

    def submit(self, requests: Sequence[JobRequest]) -> None:
        """Send jobs; raise SubmissionRefused if surely none was accepted, SubmissionDoubtful if some may have been."""

    def find(self, submission_keys: Collection[str]) -> Mapping[str, Job]:
        """Return those jobs that are queued or running; raise BackEndUnavailable when it cannot be told."""

    def cancel(self, submission_keys: Collection[str]) -> None:
        """Ask for jobs to end; keys without a job are passed over, calling again presses harder."""
