"""Real pipelines on a private Slurm: a small observatory whose cluster is reached through any shell."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ccat_models.clock import system_clock
from ccat_models.tables.execution import Attempt, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.backend import Timing
from resources.container.sif_cache import SifCache
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.run.executor import Executor
from resources.shell.port import Shell
from resources.shell.remote_program import RemoteProgram, program_path
from resources.slurm.backend import Limits, SlurmBackEnd
from resources.slurm.render import Site
from resources.workspace.store import AttemptStore
from tests.support.worlds.manual import ManualWorld, step

PATIENCE_SECONDS = 90.0
QUICK = Timing(
    lease=timedelta(seconds=60),
    resend_after=timedelta(seconds=0.5),
    lost_after=timedelta(seconds=1),
    observe_every=timedelta(seconds=0.3),
    alive_within=timedelta(seconds=2),
)


def slurm_cluster_over(
    shell: Shell, ops_db: OpsDb, base: Path, *, timing: Timing = QUICK, limits: Limits | None = None, **fields: Any
) -> Cluster:
    """Return processing location 1 on the Slurm that a shell speaks with."""
    site = Site(base=base, program=program_path(base), partition="debug")
    program = RemoteProgram(shell, base, "python3")
    return Cluster(
        ops_db=ops_db,
        backend=SlurmBackEnd(shell, site, limits or Limits(timeout_seconds=20)),
        store=AttemptStore.over(program, base) if shell.host else AttemptStore.here(base),
        images=SifCache(program, base.parent / "sif", "apptainer"),
        location_id=1,
        clock=system_clock,
        timing=timing,
        **fields,
    )


@dataclass
class RealWorld:
    """A pipeline `letters` with one step `read` per scan on a real back end, in real time."""

    works: ManualWorld

    @property
    def cluster(self) -> Cluster:
        """Return the cluster that all is run on."""
        return self.works.cluster

    def patient(self, **times: float) -> None:
        """Change how patient the holder of the lease is, in seconds."""
        timing = replace(self.cluster.timing, **{name: timedelta(seconds=value) for name, value in times.items()})
        self.works.cluster = replace(self.cluster, timing=timing)

    def declare(self, *contents: str, seconds: float = 0, **fields: Any) -> None:
        """Let one scan of each content arrive, and declare the pipeline."""
        for number, content in enumerate(contents):
            self.works.observatory.scan(number, content)
        given: dict[str, Any] = {
            "parameters": {"calls": str(self.calls), "seconds": seconds},
            "resources": {"cpus": 1, "memory_gb": 0.1, "time_hours": 0.02},
        }
        self.works.declare(step("read", **(given | fields)))

    def tick(self) -> bool:
        """Move everything on once."""
        return Executor(self.cluster, holder="lab").tick()

    def until(self, condition: Callable[[], bool], patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Tick until the condition holds."""
        deadline = time.monotonic() + patience_seconds
        while not condition():
            assert time.monotonic() < deadline, [(a.state, a.failure_message) for a in self.attempts()]
            self.tick()
            time.sleep(0.05)

    def until_ended(self) -> Counter[str]:
        """Tick until no run is in flight; return how many ended in which status."""
        self.until(lambda: not self.works.in_flight())
        return self.statuses()

    def statuses(self) -> Counter[str]:
        """Return how many runs have which status."""
        with self.cluster.ops_db.read() as session:
            return Counter(status.value for status in session.scalars(sa.select(Run.status)))

    def has(self, **numbers: int) -> Callable[[], bool]:
        """Return whether so many runs have these statuses now, as a condition."""
        wanted = {RunStatus[name].value: number for name, number in numbers.items()}
        return lambda: self.statuses() == wanted

    def attempts(self) -> list[Attempt]:
        """Return all attempts, oldest first."""
        with self.cluster.ops_db.read() as session:
            return list(session.scalars(sa.select(Attempt).order_by(Attempt.id)))

    def executed(self) -> Counter[str]:
        """Return how often the program was executed on each scan and attempt."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return Counter(line.removeprefix("read executed_obs_unit=") for line in lines)

    @property
    def calls(self) -> Path:
        """Return the file into which the program writes a line for each execution."""
        return self.works.observatory.base / "calls"


@dataclass
class SlurmWorld(RealWorld):
    """The same on Slurm, reached through any shell; its program counts its executions."""

    @staticmethod
    def open(ops_db: OpsDb, base: Path, shell: Shell, **fields: Any) -> "SlurmWorld":
        """Open an observatory below a directory that the nodes see."""
        works = ManualWorld.open(ops_db, base)
        works.cluster = slurm_cluster_over(shell, ops_db, base / "workspace", **fields)
        return SlurmWorld(works)

    @property
    def backend(self) -> SlurmBackEnd:
        """Return the back end, for its counters."""
        assert isinstance(self.cluster.backend, SlurmBackEnd)
        return self.cluster.backend

    def behind(self, shell: Shell) -> None:
        """Reach the same cluster through another shell from now on."""
        cluster = self.cluster
        self.works.cluster = slurm_cluster_over(shell, cluster.ops_db, cluster.base, timing=cluster.timing)
