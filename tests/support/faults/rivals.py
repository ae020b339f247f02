import os
import signal
import subprocess  # noqa: TID251 - processes of their own
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from ccat_models.tables.execution import ObserverLease
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.on_slurm import PATIENCE_SECONDS, SlurmWorld

# Ticks for ever; the process that first comes to the border named in the file `freeze` stops itself there.
ORCHESTRATOR = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from resources.backend import Timing
from resources.run.executor import Executor
from resources.shell.local import LocalShell
from resources.ops_db import OpsDb
from resources.slurm.backend import Limits
from tests.support.faults.moments import watched
from tests.support.worlds.on_slurm import slurm_cluster_over
url, base, control, conf, path = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5]
def passing(border):
    try:
        if (control / "freeze").read_text() != border:
            return
        (control / "freeze").rename(control / "frozen")
    except OSError:
        return
    (control / "stopped-pid").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
second = timedelta(seconds=1)
timing = Timing(second, second / 2, 2 * second, second / 4, 20 * second)
shell = LocalShell({"SLURM_CONF": conf, "PATH": path})
cluster = slurm_cluster_over(shell, OpsDb(url), base, timing=timing, limits=Limits(2, None, 20))
executor, parent = Executor(watched(cluster, passing)), os.getppid()
while os.getppid() == parent:
    executor.tick()
    time.sleep(0.03)
"""


class Rivals:
    """Two processes that move the same runs on, each with a lease of one second."""

    def __init__(self, lab: SlurmWorld, slurm: SlurmCluster, control: Path) -> None:
        self.lab = lab
        self.slurm = slurm
        self._control = control
        self._control.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both at once."""
        url = self.lab.cluster.ops_db.url.render_as_string(hide_password=False)
        places = [str(self.lab.cluster.base), str(self._control)]
        words = [url, *places, self.slurm.environment["SLURM_CONF"], self.slurm.environment["PATH"]]
        self._processes = [subprocess.Popen([sys.executable, "-c", ORCHESTRATOR, *words]) for _ in range(2)]

    def await_that(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds; fail when patience or one of the two ends."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert [process.poll() for process in self._processes] == [None, None]
            assert time.monotonic() < end, (self.lab.statuses(), [a.state for a in self.lab.attempts()])
            time.sleep(0.03)

    def await_ended(self) -> None:
        """Return once no run is in flight."""
        self.await_that(lambda: not self.lab.works.in_flight())

    def freeze_at(self, border: str) -> None:
        """Let the process that first comes to a border stop there."""
        (self._control / "freeze").write_text(border)

    @contextmanager
    def frozen(self) -> Iterator[int]:
        """Wait until one process has stopped itself; resume it when the block ends."""
        stopped_pid = self._control / "stopped-pid"
        self.await_that(lambda: stopped_pid.exists() and stopped_pid.read_text())
        pid = int(stopped_pid.read_text())
        yield pid
        stopped_pid.unlink()
        os.kill(pid, signal.SIGCONT)

    def freeze_for(self, seconds: float, which: int, *, after_seconds: float) -> None:
        """Suspend one of the two for a while, wherever it is."""
        time.sleep(after_seconds)
        self._processes[which].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._processes[which].send_signal(signal.SIGCONT)

    def holder(self) -> int:
        """Return the id of the process that holds the lease."""
        with self.lab.cluster.ops_db.read() as session:
            return int((session.scalar(sa.select(ObserverLease.holder)) or ":0").split(":")[1])

    def rest(self) -> None:
        """Wait for the end of all that the two have begun, then end them."""
        time.sleep(2)
        self.end()

    def end(self) -> None:
        """End both."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes = []
