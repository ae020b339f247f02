from pathlib import Path

from ccat_models.contract.result import Result
from resources.backend import Batch, Job, JobRequest, JobState, Sent, Shape
from resources.workspace.store import AttemptStore


def batch(*requests: JobRequest, key: str = "b" * 32) -> Batch:
    """Return requests as one batch of small jobs."""
    return Batch(key, Shape(1, 1.0, None), requests)


def sent(*keys: str) -> list[Sent]:
    """Return where to look for jobs of which nothing but the key is known."""
    return [Sent(key) for key in keys]


def jobs(*keys: str) -> list[Job]:
    """Return jobs to be cancelled."""
    return [Job(key, "0", JobState.RUNNING) for key in keys]


def read_result(directory: Path, key: str) -> Result | None:
    """Return what an attempt's store makes of its directory."""
    return AttemptStore.here(directory.parent).look([directory])[directory].result(directory, key)
