from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ccat_models.clock import Clock
from resources.archive.stager import Stager
from resources.backend import BackEnd, Timing
from resources.container.sif_cache import SifCache
from resources.ops_db import OpsDb
from resources.workspace.store import AttemptStore
from resources.workspace.watermarks import Watermarks


@dataclass(frozen=True)
class Cluster:
    """Where runs of one processing location are executed, and what is needed to do that."""

    ops_db: OpsDb
    backend: BackEnd
    store: AttemptStore
    images: SifCache
    location_id: int
    clock: Clock
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
