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
    """One processing location with all that is needed to execute its runs: database, back end, disk, images, stager."""

    ops_db: OpsDb
    backend: BackEnd
    store: AttemptStore
    images: SifCache
    location_id: int
    clock: Clock
    timing: Timing = field(default_factory=Timing)
    max_in_flight: int | None = None  # limit on the runs in flight at the processing location, of all pipelines
    stager: Stager | None = None  # stages raw data from archives; None if all of it is on disks of the location
    staging_keep: timedelta = timedelta(0)  # staged raw data not used for so long may be let go
    watermarks: Watermarks = field(default_factory=Watermarks)

    @property
    def base(self) -> Path:
        """Return the directory below which all attempts have their directories."""
        return self.store.base

    @property
    def name(self) -> str:
        """Return the name of the cluster's lease: back end and id of the processing location."""
        return f"{self.backend.name}:{self.location_id}"
