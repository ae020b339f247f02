import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - tests start real programs
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.support.parts import tree
from tests.support.parts.not_run import not_run
from tests.support.parts.slurm_conf import (
    CGROUP_CONF,
    CLUSTER_NAME,
    DATABASE,
    DATABASE_USER,
    Layout,
    mariadbd_command,
    munged_command,
    slurm_conf,
    slurmdbd_conf,
)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ALWAYS = ("munged", "slurmctld", "slurmd", "sbatch")
_FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
_PATIENCE_SECONDS = 60.0


class SlurmCluster:
    """A private Slurm on loopback ports: its daemons are children of this process and die with it, root or not.

    Daemons, by which they are killed and frozen: munged, mariadbd, slurmdbd, slurmctld, slurmd-n1, slurmd-n2, etc.
    """

    def __init__(
        self,
        *,
        nodes: int = 2,
        cpus: int = 8,
        memory_mb: int = 8000,
        accounting: bool = True,
        cgroup: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        _require(_ALWAYS + (_FOR_ACCOUNTING if accounting else ()))
        self.directory = Path(tempfile.mkdtemp(prefix="ccat-slurm-", dir="/tmp"))  # short, whatever TMPDIR says
        controller, storage, database, *node_ports = _free_ports(3 + nodes)
        self.layout = Layout(
            self.directory,
            socket.gethostname().partition(".")[0],
            getpass.getuser(),
            controller,
            storage,
            database,
            node_ports,
            cpus,
            memory_mb,
            accounting,
            cgroup,
            settings or {},
        )
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Return what a shell needs in its environment to speak with this cluster."""
        return {"SLURM_CONF": str(self.directory / "slurm.conf"), "PATH": PATH}

    def start(self) -> None:
        """Start all daemons; return when every node takes jobs."""
        self._lay_out()
        for name in ("munged", *(("mariadbd", "slurmdbd") if self.layout.accounting else ())):
            self.respawn(name)
        if self.layout.accounting:
            self.run("sacctmgr", "-i", "add", "cluster", CLUSTER_NAME)
        self.respawn("slurmctld")
        for node in self.layout.node_names:
            self._launch(f"slurmd-{node}")
        self.await_idle()

    def __enter__(self) -> Self:
        """Start the cluster; one that does not start leaves nothing."""
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and remove its files."""
        self.remove()

    def stop(self) -> None:
        """End all jobs and all daemons."""
        if "slurmctld" in self._daemons:
            self.run("scancel", "--full", "--user", self.layout.user, check=False)
        for name in reversed(tuple(self._daemons)):
            self.thaw(name)
            tree.end(self._daemons.pop(name))
        self._end_strays()

    def remove(self) -> None:
        """Stop the cluster and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands against this cluster."""
        done = subprocess.run(
            command,
            input=stdin,
            env=self.environment,
            cwd=self.directory,  # where a job's output lands that names no other place
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done

    def kill(self, name: str, by: signal.Signals = signal.SIGKILL) -> None:
        """End one daemon; by SIGKILL, slurmctld loses the submissions of the last seconds."""
        process = self._daemons.pop(name)
        process.send_signal(by)
        process.wait(_PATIENCE_SECONDS)

    def respawn(self, name: str) -> None:
        """Start one daemon and return when it answers."""
        ready = {
            "munged": self.layout.munge_socket.exists,
            "mariadbd": self._database_answers,
            "slurmdbd": lambda: self._answers("sacctmgr", "-n", "list", "cluster"),
            "slurmctld": lambda: " is UP" in self.run("scontrol", "ping", check=False).stdout,
        }.get(name)
        self._launch(name)
        self.wait_until(ready or (lambda: self._node_responds(name.removeprefix("slurmd-"))), name)

    @contextlib.contextmanager
    def without(self, name: str, by: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """Do something while one daemon is gone."""
        self.kill(name, by)
        try:
            yield
        finally:
            self.respawn(name)

    def freeze(self, name: str) -> None:
        """Stop one daemon where it is: connections to it are taken and not answered."""
        self._daemons[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Resume a frozen daemon."""
        self._daemons[name].send_signal(signal.SIGCONT)

    def node_down(self, node: str) -> None:
        """Declare a node lost, as the controller does when it no longer answers."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def node_up(self, node: str) -> None:
        """Take a node back and return when it takes jobs."""
        # A node that has registered again by itself is up already and cannot be resumed.
        self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self.wait_until(lambda: self._node_responds(node), f"node {node}")

    def await_idle(self) -> None:
        """Return when every node is idle."""
        every = str(len(self.layout.node_names))
        idle = ["idle", every]
        self.wait_until(lambda: self.run("sinfo", "-hpdebug", "-o%T %D", check=False).stdout.split() == idle, "nodes")

    def clear(self) -> None:
        """Cancel all jobs and return when none is left running: what a test begins or ends with."""
        self.run("scancel", "--user", self.layout.user)
        self.await_idle()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once the condition holds; fail with the daemons' last words when patience or a daemon ends."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            dead = [name for name, process in self._daemons.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise RuntimeError(f"waiting for {what}; ended: {dead}\n{self._last_words()}")
            time.sleep(0.05)

    def _lay_out(self) -> None:
        """Write configuration and keys; make the accounting database's files."""
        layout, directory = self.layout, self.directory
        spools = [f"spool-{node}" for node in layout.node_names]
        for name in ("munge", "state", "log", "tmp", *spools):
            (directory / name).mkdir()
        directory.chmod(0o755)
        (directory / "munge").chmod(0o711)
        _write_secret(directory / "munge" / "munge.key", os.urandom(128))
        (directory / "slurm.conf").write_text(slurm_conf(layout))
        if layout.cgroup:
            (directory / "cgroup.conf").write_text(CGROUP_CONF)
        if layout.accounting:
            _write_secret(directory / "slurmdbd.conf", slurmdbd_conf(layout).encode())
            as_user = [f"--user={layout.user}"] if os.getuid() == 0 else []
            data = f"--datadir={directory}/mysql"
            self.run(
                "mariadb-install-db",
                "--no-defaults",
                data,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *as_user,
            )

    def _launch(self, name: str) -> None:
        with (self.directory / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = tree.start(
                self._command(name), log=log, cwd=self.directory, environment=self.environment
            )

    def _command(self, name: str) -> list[str]:
        if name == "munged":
            return munged_command(self.directory / "munge")
        if name == "mariadbd":
            return mariadbd_command(self.layout)
        if name in ("slurmdbd", "slurmctld"):
            return [name, "-D"]
        return ["slurmd", "-D", "-N", name.removeprefix("slurmd-")]

    def _answers(self, *command: str) -> bool:
        return self.run(*command, check=False).returncode == 0

    def _database_answers(self) -> bool:
        return self._answers(
            "mariadb",
            "--no-defaults",
            "-uroot",
            f"--socket={self.directory}/mysql.sock",
            "-e",
            f"create database if not exists {DATABASE};"
            f"create user if not exists '{DATABASE_USER}'@'127.0.0.1' identified by '{DATABASE_USER}';"
            f"grant all on {DATABASE}.* to '{DATABASE_USER}'@'127.0.0.1'; flush privileges",
        )

    def _node_responds(self, node: str) -> bool:
        state = self.run("sinfo", "-h", "-pdebug", f"-n{node}", "-o%T", check=False).stdout.strip()
        return state in ("idle", "mixed", "allocated")

    def _end_strays(self) -> None:
        """End what jobs left: slurmstepd outlives its slurmd. Only processes that carry this cluster's name."""
        ours = self.environment["SLURM_CONF"]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == ours:
                    process.kill()

    def _last_words(self) -> str:
        logs = sorted((self.directory / "log").iterdir())
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-800:]}" for log in logs)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Give a running Slurm with two nodes and accounting.

    It is dear: mark its tests with `pytest.mark.real` and `pytest.mark.xdist_group("slurm")`, so that one worker
    has them all (pytest -n N --dist loadgroup).
    """
    with SlurmCluster() as cluster:
        yield cluster


def _require(programs: tuple[str, ...]) -> None:
    if any(shutil.which(program, path=PATH) is None for program in programs):
        not_run("Slurm", "make setup-hpc")


def _free_ports(number: int) -> list[int]:
    """Return loopback ports below those that the kernel gives to outgoing connections."""
    ports: set[int] = set()
    while len(ports) < number:
        port = random.randint(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return sorted(ports)


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
