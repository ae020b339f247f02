import os
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - tests start real programs
import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path

import psycopg2

from tests.support.parts import tree
from tests.support.parts.not_run import not_run

CLUSTER = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class PostgresServer:
    """A private PostgreSQL on a random loopback port: a child of this process that dies with it, root or not."""

    def __init__(self) -> None:
        self._programs = _find_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="ccat-postgres-"))
        self._prefix = _without_root(self._folder)
        self._names = (f"database_{number}" for number in count(1))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the postmaster."""
        if self._process is None:
            raise RuntimeError("the server is not started")
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster and start the server; return when it answers."""
        make = [str(self._programs / "initdb"), "-D", str(self._folder / "data"), *CLUSTER]
        subprocess.run([*self._prefix, *make], cwd="/", check=True, capture_output=True)
        for _ in range(3):  # another process may take the port between our look and the server's
            self.port = free_port()
            self._launch()
            if self._answers(within_seconds=60):
                return
            self.stop()
        raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """Stop the server, breaking off what its clients do."""
        if self._process is not None:
            tree.end(self._process, signal.SIGINT)
        self._process = None

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, template: str = "template1") -> str:
        """Create a database, a copy of the template, and return its name."""
        name = next(self._names)
        self._command(f"CREATE DATABASE {name} TEMPLATE {template}")  # 40 ms; STRATEGY file_copy takes 200
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whichever clients are connected to it."""
        self._command(f"DROP DATABASE {name} WITH (FORCE)")

    def _command(self, statement: str) -> None:
        connection = psycopg2.connect(self.url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _launch(self) -> None:
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = tree.start(
                [self._programs / "postgres", "-D", self._folder / "data", "-p", str(self.port), *options],
                log=log,
                cwd=Path("/"),
                dies_by=signal.SIGINT,
                prefix=self._prefix,
            )

    def _answers(self, within_seconds: float) -> bool:
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                psycopg2.connect(self.url(), connect_timeout=5).close()
            except psycopg2.OperationalError:
                time.sleep(0.02)
            else:
                return self._process.poll() is None
        return False


def free_port() -> int:
    """Return a port of loopback that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _find_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    if not found:
        not_run("PostgreSQL", "apt-get install postgresql, or tools/setup-real.sh")
    return found[-1].parent


def _without_root(folder: Path) -> list[str]:
    # PostgreSQL refuses to run as root: a user namespace makes it another user, who owns root's files.
    if os.geteuid() != 0:
        return []
    if _namespaces_work():
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    shutil.chown(folder, "nobody", "nogroup")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@cache
def _namespaces_work() -> bool:
    trial = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0
