"""Every back end with the same face, wired from settings as an operator writes them."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from ccat_assets.wiring.locations import cluster_of
from ccat_assets.wiring.settings import load
from ccat_models.clock import system_clock
from ccat_models.run.cancel import request_cancel
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import IN_FLIGHT, Attempt, AttemptState
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.products import DataProduct, QualityMetric
from resources.location import Cluster
from resources.ops_db import OpsDb
from tests.support.parts.apptainer import Image
from tests.support.parts.login_node import LoginNode
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.on_slurm import PATIENCE_SECONDS, QUICK, RealWorld

PROGRAM = Path(__file__).parents[1] / "programs" / "conformance.py"
SMALL = {"cpus": 1, "memory_gb": 0.1, "time_hours": 0.05}


@dataclass
class BackEndWorld(RealWorld):
    """An observatory whose pipeline runs the program of this directory on one back end."""

    settings: Mapping[str, str] = field(default_factory=dict)
    slurm: SlurmCluster | None = None

    @staticmethod
    def open(
        ops_db: OpsDb, base: Path, slurm: SlurmCluster | None = None, node: LoginNode | None = None
    ) -> "BackEndWorld":
        """Open the observatory on this machine, on Slurm, or on Slurm behind a login node."""
        works = ManualWorld.open(ops_db, base)
        settings = settings_of(ops_db, base, slurm, node)
        shutil.copy(PROGRAM, works.code / PROGRAM.name)
        works.cluster = replace(cluster_of(load(settings).settings, ops_db, 1, system_clock), timing=QUICK)
        return BackEndWorld(works, settings, slurm)

    def another_process(self) -> Cluster:
        """Return the same cluster as a process that knows nothing of this one sees it."""
        fresh = cluster_of(load(self.settings).settings, self.cluster.ops_db, 1, system_clock)
        return replace(fresh, timing=self.cluster.timing)

    def steps(self, *contents: str, image: Image | None = None, steps: Sequence[dict[str, Any]]) -> None:
        """Let one scan of each content arrive, and declare a pipeline of these steps."""
        contained = {} if image is None else {"image": str(image.path), "sha256": image.sha256}
        command = {"command": ["{python}", PROGRAM.name], "code": [PROGRAM.name]}
        self.works.releases = [{"version": "1.0.0", **command, **contained}]
        for number, content in enumerate(contents):
            self.works.observatory.scan(number, content)
        self.works.declare(*steps)

    def work(self, *contents: str, image: Image | None = None, **fields: Any) -> None:
        """Request a run of the step `read` for one scan of each content."""
        given: dict[str, Any] = {"resources": SMALL, "parameters": {}}
        self.steps(*contents, image=image, steps=[step("read", **(given | fields))])
        self.works.request()

    def cancel(self, *runs: int) -> None:
        """Ask for runs to be cancelled."""
        with self.cluster.ops_db.write() as session:
            request_cancel(session, [RunId(run) for run in runs], by="ada", now=self.cluster.clock())

    def run(self, run_id: int) -> Run:
        """Return a run."""
        with self.cluster.ops_db.read() as session:
            return session.get_one(Run, RunId(run_id))

    def products(self, run_id: int) -> dict[str, str]:
        """Return the checksum of each product of a run by its path."""
        with self.cluster.ops_db.read() as session:
            found = session.scalars(sa.select(DataProduct).where(DataProduct.run_id == run_id))
            return {product.path: product.sha256 for product in found}

    def metrics(self, run_id: int) -> dict[str, tuple[float, float | None, float | None]]:
        """Return value, lower and upper limit of each metric of a run."""
        with self.cluster.ops_db.read() as session:
            found = session.scalars(sa.select(QualityMetric).where(QualityMetric.run_id == run_id))
            return {metric.name: (metric.value, metric.minimum, metric.maximum) for metric in found}

    def until_up(self, number: int) -> None:
        """Tick until so many programs have begun and the back end is known to run them."""
        self.until(lambda: sum(is_up(attempt) for attempt in self.attempts()) == number)
        running = AttemptState.RUNNING
        self.until(lambda: sum(attempt.state is running for attempt in self.attempts()) == number)

    def queue(self) -> dict[str, str]:
        """Return the state of each task that Slurm has not ended, by its id."""
        assert self.slurm is not None
        lines = self.slurm.run("squeue", "-h", "-r", "-t", "PD,R,S,CF,CG", "-o", "%F_%K %T").stdout.split("\n")
        return {task: state for task, _, state in (line.partition(" ") for line in lines if line)}

    def close(self) -> None:
        """End whatever still runs."""
        with self.cluster.ops_db.read() as session:
            left = list(session.scalars(sa.select(Run.id).where(Run.status.in_(IN_FLIGHT))))
        if left:
            self.cancel(*left)
            self.patient(observe_every=0)
            self.until_ended()
        if self.slurm is not None:
            self.slurm.clear()


def settings_of(
    ops_db: OpsDb, base: Path, slurm: SlurmCluster | None = None, node: LoginNode | None = None
) -> dict[str, str]:
    """Return the environment of an operator whose jobs run there."""
    environment = {"CCAT_HOME": str(base), "CCAT_DATABASE_URL": ops_db.url.render_as_string(hide_password=False)}
    environment |= {"CCAT_LOCAL_SLOTS": "32", "CCAT_POLL_SECONDS": "0.1"}
    if slurm is not None:
        environment |= {"CCAT_HPC_BACKEND": "slurm", "CCAT_SLURM_PARTITION": "debug", "CCAT_OBSERVE_SECONDS": "0.3"}
    if node is not None:
        environment |= {
            "CCAT_SSH_HOST": node.host,
            "CCAT_SSH_PORT": str(node.port),
            "CCAT_SSH_USER": node.user,
            "CCAT_SSH_KEY_FILE": str(node.client_key),
            "CCAT_SSH_KNOWN_HOSTS": str(node.known_hosts),
        }
    return environment


def output_of(attempt: Attempt) -> Path:
    """Return where an attempt's products go."""
    return Path(attempt.directory or "/nowhere") / "output"


def is_up(attempt: Attempt) -> bool:
    """Say whether an attempt's program has begun."""
    return (output_of(attempt) / "logs" / "environment.json").exists()


def processes(attempt: Attempt) -> list[int]:
    """Return the processes that belong to an attempt: by their command line, environment or mounts."""
    assert attempt.directory is not None
    mark = f"{attempt.directory}".encode()
    found = []
    for pid in psutil.pids():
        place = Path(f"/proc/{pid}")
        if any(_holds(place / name, mark) for name in ("cmdline", "environ", "mountinfo")):
            found.append(pid)
    return found


def await_end(attempt: Attempt) -> None:
    """Return once no process of an attempt is left, without moving anything on."""
    wait(lambda: not processes(attempt), "the end of all its processes")


def wait(condition: Callable[[], object], what: str = "it") -> None:
    """Return once the condition holds, without moving anything on; fail when patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in time"
        time.sleep(0.05)


def _holds(file: Path, mark: bytes) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return mark + b"/" in content or mark + b"\0" in content
