"""Dagster as it is deployed: code server, webserver and daemon are programs of their own, each killed and started anew."""

import os
import socket
import subprocess  # noqa: TID251 - tests start real programs
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ruamel.yaml import YAML

from tests.support.parts import dagit, tree
from tests.support.parts.dagit import Dagit
from tests.support.parts.postgres import free_port

CODE_SERVER, WEBSERVER, DAEMON = "code server", "webserver", "daemon"


class Deployment(Dagit):
    """The three programs of `dagster dev` on what a workspace file names, without a supervisor that restarts them."""

    def __init__(self, home: Path, workspace: Path, environment: Mapping[str, str]) -> None:
        self._code_port = free_port()
        (target,) = YAML(typ="safe").load(workspace)["load_from"]
        self._module = target["python_module"]
        super().__init__(home, _served_at(self._code_port, self._module["location_name"], home), environment={})
        self._environment = {**environment, "DAGSTER_HOME": str(home)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._left: set[psutil.Process] = set()

    def start(self, *, daemon: bool = True, within_seconds: float = 120) -> None:
        """Start the programs; return when the code location is loaded and every daemon has reported."""
        for name in (CODE_SERVER, WEBSERVER, *([DAEMON] if daemon else [])):
            self.restart(name, within_seconds)

    def restart(self, name: str, within_seconds: float = 120) -> None:
        """Start one of the programs as a supervisor does; return when it answers."""
        ready = {CODE_SERVER: self._code_server_listens, WEBSERVER: self._loaded, DAEMON: self._daemons_report}
        self._processes.clear()
        self._launch(*self._command(name))
        (self._running[name],) = self._processes
        self._processes[:] = self._running.values()
        self._wait(ready[name], time.monotonic() + within_seconds)

    def kill(self, name: str) -> None:
        """Kill one of the programs without warning; the workers of a code server's runs are left as they are."""
        process = self._running.pop(name)
        self._processes.remove(process)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                if "grpc" in member.cmdline():  # the half of a code server that loads the code
                    member.kill()
        self._left |= set(family)

    def stop(self) -> None:
        """Stop the programs and what they started, also those that outlived them."""
        for name in (DAEMON, WEBSERVER, CODE_SERVER):
            if name in self._running:
                tree.end(self._running.pop(name))
        for process in self._left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._processes.clear()

    def _command(self, name: str) -> tuple[str | Path, ...]:
        code_server = (tree.PROGRAMS / "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(self._code_port))
        module = ("-m", self._module["module_name"], "--location-name", self._module["location_name"])
        return {
            CODE_SERVER: (*code_server, *module),
            WEBSERVER: (*dagit.WEBSERVER, self.url.rpartition(":")[2], "-w", self._workspace),
            DAEMON: (*dagit.DAEMON, self._workspace),
        }[name]

    def _code_server_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._code_port)) == 0


def _served_at(port: int, name: str, folder: Path) -> Path:
    """Write the workspace file of a code server that is there already, as `dagster dev` does; return it."""
    path = folder / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": port, "location_name": name}
    YAML(typ="safe").dump({"load_from": [{"grpc_server": server}]}, path)
    return path


@contextmanager
def deployment(home: Path, workspace: Path, environment: Mapping[str, str]) -> Iterator[Deployment]:
    """Give the three programs on an instance's home, running."""
    programs = Deployment(home, workspace, environment)
    try:
        programs.start()
        yield programs
    finally:
        programs.stop()


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what concerns the project or Dagster, and with some more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
    return kept | more


def until(condition: Callable[[], object], what: str, within_seconds: float = 120) -> None:
    """Return once the condition holds; fail when it does not in time."""
    end = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < end, f"did not come true in time: {what}"
        time.sleep(0.1)
