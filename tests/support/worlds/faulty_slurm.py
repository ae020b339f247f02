import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from resources.backend import Timing
from resources.ops_db import OpsDb
from resources.shell.local import LocalShell
from resources.slurm.backend import Limits
from tests.support.faults.fault_checks import Trial
from tests.support.faults.fault_slurm import Fault, FaultyCommands
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.on_slurm import SlurmWorld

_SECOND = timedelta(seconds=1)
# lease, resend_after, lost_after, observe_every, alive_within
CALM = Timing(60 * _SECOND, 0.5 * _SECOND, 15 * _SECOND, 0.25 * _SECOND, 30 * _SECOND)  # in proportion as in production
HASTY = Timing(60 * _SECOND, 0.5 * _SECOND, 1 * _SECOND, 0.25 * _SECOND, 30 * _SECOND)  # gives up too early
IMPATIENT = Timing(60 * _SECOND, 0.5 * _SECOND, 1 * _SECOND, 0.25 * _SECOND, 3 * _SECOND)  # even a job that lives
BUSY = Timing(60 * _SECOND, 0.2 * _SECOND, 1 * _SECOND, 0.1 * _SECOND, 30 * _SECOND)  # sends again soon


class FaultySlurmWorld:
    """A lab whose Slurm commands can be made to misbehave."""

    def __init__(
        self, ops_db: OpsDb, base: Path, slurm: SlurmCluster, *, limits: Limits | None = None, **fields: Any
    ) -> None:
        self.commands = FaultyCommands(base / "faulty", slurm.environment["PATH"])
        shell = LocalShell(slurm.environment | {"PATH": self.commands.path})
        self.lab = SlurmWorld.open(ops_db, base / "lab", shell, limits=limits, **fields)
        self.slurm = slurm

    def trial(self, runs: int, **declared: Any) -> Trial:
        """Declare the lab and ask for so many runs."""
        self.lab.declare(*(["a"] * runs), **declared)
        return Trial.of_lab(self.lab, self.slurm)

    @property
    def struck(self) -> int:
        """Return how many calls misbehaved."""
        return self.struck_by(*Fault)

    def struck_by(self, *faults: Fault, program: str | None = None) -> int:
        """Return how many calls, of one program or of all, misbehaved like this."""
        return sum(call.fault in faults and program in (None, call.program) for call in self.commands.calls())


def look_for(seconds: float, lab: SlurmWorld) -> None:
    """Tick for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lab.tick()
        time.sleep(0.05)
