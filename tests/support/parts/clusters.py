import sys
from pathlib import Path
from typing import Any

from ccat_models.clock import Clock, system_clock
from resources.backend import Timing
from resources.container.apptainer import find_apptainer
from resources.container.sif_cache import SifCache
from resources.local.backend import LocalBackEnd
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from resources.workspace.store import AttemptStore


def local_cluster(
    ops_db: OpsDb,
    base: Path,
    *,
    slots: int,
    clock: Clock = system_clock,
    timing: Timing | None = None,
    **fields: Any,
) -> Cluster:
    """Return the local back end on processing location 1, all its files below `base`."""
    apptainer = find_apptainer()
    return Cluster(
        ops_db=ops_db,
        backend=LocalBackEnd(base, slots=slots, python=sys.executable, apptainer=apptainer),
        store=AttemptStore.here(base),
        images=SifCache(RemoteProgram(LocalShell(), base, sys.executable), base.parent / "sif", apptainer or ""),
        location_id=1,
        clock=clock,
        timing=timing or Timing(),
        **fields,
    )
