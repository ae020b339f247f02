from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ccat_models.clock import Clock
from resources.archive.stager import Stager
from resources.backend import BackEnd
from resources.container.sif_cache import SifCache
from resources.ops_db import OpsDb
from resources.workspace.store import AttemptStore
from resources.workspace.watermarks import Watermarks


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


@dataclass(frozen=True)
class Cluster:
    """Where runs of one processing location are executed, and what is needed to do that."""

    ops_db: OpsDb
    backend: BackEnd
    store: AttemptStore
    images: SifCache
    location_id: int
    clock: Clock
    python: str  # on the machine that runs the attempts
    apptainer: str | None = None  # there, too; None where there is none
    job_id_variable: str | None = None  # in which a wrapper finds its job's id
    marked: bool = False  # wrappers that have ended leave a mark, so that nobody needs to ask the back end
    timing: Timing = field(default_factory=Timing)
    max_in_flight: int | None = None  # runs at the processing location, of all pipelines
    stager: Stager | None = None  # brings raw data from archives; None where all of it lies on disks here
    staging_keep: timedelta = timedelta(0)  # staged raw data that was not used for so long may go
    watermarks: Watermarks = field(default_factory=Watermarks)

    @property
    def base(self) -> Path:
        """Return the directory below which all attempts work."""
        return self.store.base

    @property
    def name(self) -> str:
        """Return the name of the cluster's lease: back end and data location."""
        return f"{self.backend.name}:{self.location_id}"
