import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess  # noqa: TID251 - tests start real programs
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
import pytest

from resources.shell.ssh_target import SshTarget
from tests.support.parts import tree
from tests.support.parts.not_run import not_run
from tests.support.parts.postgres import free_port
from tests.support.parts.slurm_cluster import SlurmCluster

_SSHD = Path("/usr/sbin/sshd")
_HOST = "127.0.0.1"
_SETTINGS = """\
ListenAddress {host}:{port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/client_key.pub
AuthenticationMethods publickey
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
AllowTcpForwarding {forwarding}
X11Forwarding no
PrintMotd no
MaxSessions {sessions}
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


class LoginNode:
    """A private OpenSSH server on a random loopback port, with keys of its own: a child that dies with this process.

    A user with the client key logs in as the user who runs the tests, root or not, but with an empty home.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        forwarding: bool = False,
        sessions: int = 10,
    ) -> None:
        if not _SSHD.exists():
            not_run("OpenSSH server", "make setup-hpc")
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host, self.user = _HOST, getpass.getuser()
        self.client_key = make_key(self.folder / "client_key")
        self.known_hosts = self.folder / "known_hosts"
        self.port = free_port()
        self._settings = _SETTINGS + _set_environment({"HOME": str(self.folder)} | dict(environment or {}))
        self._options = {"forwarding": "yes" if forwarding else "no", "sessions": sessions}
        self._process: subprocess.Popen[bytes] | None = None
        self._make_host_key()
        self._write_known_hosts()

    def target(self, port: int | None = None, **fields: object) -> SshTarget:
        """Return how a shell reaches this server, directly or through a relay's port."""
        values: dict[str, object] = {
            "host": self.host,
            "user": self.user,
            "port": port or self.port,
            "known_hosts": self._known_as(port) if port else self.known_hosts,
            "key_file": self.client_key,
            "connect_timeout_seconds": 5.0,
        }
        return SshTarget(**values | fields)  # type: ignore[arg-type]

    def start(self) -> None:
        """Start the server, at the same port and with the same keys as before; return when it listens."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts in its unprivileged part
        settings = self.folder / "sshd_config"
        settings.write_text(
            self._settings.format(host=_HOST, port=self.port, folder=self.folder, **self._options), encoding="utf-8"
        )
        before = self.log().count("Server listening")
        with (self.folder / "log").open("ab") as log:
            self._process = tree.start([_SSHD, "-D", "-e", "-f", settings], log=log, cwd=Path("/"))
        end = time.monotonic() + 20
        while self.log().count("Server listening") == before:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.log()[-2000:])
            time.sleep(0.01)

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> None:
        """Stop the server and end all its sessions and what they started."""
        if self._process is not None:
            self.thaw()
            for session in self._family()[1:]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    session.kill()
            tree.end(self._process)
        self._process = None

    def kill(self) -> None:
        """End the server and its sessions at once, as a crash of the machine would."""
        self._signal(signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """Suspend the server and its sessions: connections stay open without answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume them."""
        self._signal(signal.SIGCONT)

    def change_host_key(self) -> None:
        """Give a stopped server another host key than the one that known_hosts has."""
        self._make_host_key()

    def log(self) -> str:
        """Return what the server wrote so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def connections(self) -> int:
        """Return how many connections the server accepted."""
        return len(re.findall(r"^Connection from ", self.log(), re.MULTILINE))

    @property
    def logins(self) -> int:
        """Return how often a key was offered, in vain or not."""
        return len(re.findall(r"^(Accepted|Failed) publickey|^Postponed publickey", self.log(), re.MULTILINE))

    def _signal(self, number: signal.Signals) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        """Return the server and all that it started."""
        if self._process is None or self._process.poll() is not None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _make_host_key(self) -> None:
        make_key(self.folder / "host_key")

    def _write_known_hosts(self) -> None:
        self.known_hosts.write_text(self._known_line(self.port), encoding="utf-8")

    def _known_as(self, port: int) -> Path:
        path = self.folder / f"known_hosts-{port}"
        path.write_text(self._known_line(port), encoding="utf-8")
        return path

    def _known_line(self, port: int) -> str:
        kind, key = (self.folder / "host_key.pub").read_text(encoding="utf-8").split()[:2]
        return f"[{_HOST}]:{port} {kind} {key}\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LoginNode]:
    """Give a machine of this test's own that is reached by SSH."""
    with LoginNode(tmp_path / "node") as node:
        yield node


@pytest.fixture(scope="session")
def login_node(slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginNode]:
    """Give a login node that has Slurm's commands."""
    with LoginNode(tmp_path_factory.mktemp("login"), slurm_cluster.environment) as node:
        yield node


def make_key(path: Path, passphrase: str = "") -> Path:
    """Make a new key pair and return the private key's path."""
    if shutil.which("ssh-keygen") is None:
        not_run("OpenSSH client", "make setup-hpc")
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return path


def _set_environment(environment: Mapping[str, str]) -> str:
    return "SetEnv " + " ".join(f'"{name}={value}"' for name, value in environment.items()) + "\n"
