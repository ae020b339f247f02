from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ccat_models.clock import Clock
from resources.backend import BackEnd
from resources.ops_db import OpsDb


@dataclass(frozen=True)
class Timing:
    """How patient the one who holds a cluster's lease is."""

    lease: timedelta = timedelta(seconds=30)
    resend_after: timedelta = timedelta(seconds=5)  # a job in doubt that the back end does not know is sent again
    lost_after: timedelta = timedelta(seconds=10)  # a job that is nowhere and has no result is lost


def _go_on(step: str) -> None:
    del step


@dataclass(frozen=True)
class Cluster:
    """Where runs of one processing location are executed, and what is needed to do that."""

    ops_db: OpsDb
    backend: BackEnd
    base: Path
    location_id: int
    clock: Clock
    python: str
    sif_cache: Path
    timing: Timing = field(default_factory=Timing)
    passing: Callable[[str], None] = _go_on  # told the name of each border between two writes: tests end there

    @property
    def name(self) -> str:
        """Return the name of the cluster's lease: back end and data location."""
        return f"{self.backend.name}:{self.location_id}"
