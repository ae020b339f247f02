import json
import os
import subprocess  # noqa: TID251 - tests start real programs
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.parts import tree
from tests.support.parts.postgres import free_port

LOCATIONS = """
{ workspaceOrError {
    ... on Workspace { locationEntries { loadStatus locationOrLoadError { ...Problem } } }
    ...Problem
} }
fragment Problem on PythonError { message errorChain { error { message } } }
"""
# The directory of a program must not be searched for modules (-P).
DAEMON: tuple[str | Path, ...] = (sys.executable, "-P", Path(__file__).with_name("impatient_daemon.py"), "run", "-w")
WEBSERVER: tuple[str | Path, ...] = (tree.PROGRAMS / "dagster-webserver", "-h", "127.0.0.1", "-p")
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"


class Dagit:
    """A running dagster-webserver, and the daemon where it was asked for: children of this process that die with it."""

    def __init__(self, home: Path, workspace: Path, *, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{free_port()}"
        self._workspace = workspace
        self._environment = {**os.environ, "DAGSTER_HOME": str(home), **(environment or {})}  # noqa: TID251
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> Path:
        """Return the file that holds what the programs said."""
        return self.home / "dagit.log"

    def start(self, *, daemon: bool = False, within_seconds: float = 120) -> None:
        """Start the programs; return when every code location is loaded and every daemon has reported.

        Raises RuntimeError with the log where one is not.
        """
        deadline = time.monotonic() + within_seconds
        port = self.url.rpartition(":")[2]
        self._launch(*WEBSERVER, port, "-w", self._workspace)
        self._wait(self._loaded, deadline)
        if daemon:  # not earlier: two programs that make a new instance's tables at once stamp their revision twice
            self._launch(*DAEMON, self._workspace)
            self._wait(self._daemons_report, deadline)

    def _wait(self, until: Callable[[], bool], deadline: float) -> None:
        while not until():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise RuntimeError(f"Dagit did not start: {self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the programs and the code servers they started."""
        for process in self._processes:
            tree.end(process)
        self._processes.clear()

    def memory_mb(self) -> float:
        """Return the memory of all programs in MiB."""
        return sum(tree.memory_mb(process.pid) for process in self._processes)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the answer's data. Raises RuntimeError with the errors where there are some."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        if answer.get("errors"):
            raise RuntimeError(f"{answer['errors']}")
        data: dict[str, Any] = answer["data"]
        return data

    def _launch(self, *command: str | Path) -> None:
        with self.log.open("ab") as log:
            self._processes.append(tree.start(command, log=log, cwd=self.home, environment=self._environment))

    def _loaded(self) -> bool:
        try:
            workspace = self.graphql(LOCATIONS)["workspaceOrError"]
        except OSError:
            return False  # it does not listen yet
        locations = workspace.get("locationEntries", [])
        problems = (workspace, *(location["locationOrLoadError"] or {} for location in locations))
        messages = [_message(problem) for problem in problems if "message" in problem]
        if messages:
            raise RuntimeError(f"a code location cannot be loaded: {messages}")
        return bool(locations) and all(found["loadStatus"] == "LOADED" for found in locations)

    def _daemons_report(self) -> bool:
        health = self.graphql(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in health if daemon["required"])


def hurry(home: Path) -> None:
    """Let the daemon of an instance rest seconds instead of half minutes; nothing that it does is changed."""
    file, yaml = home / "dagster.yaml", YAML(typ="safe")
    settings = yaml.load(file)
    settings["run_monitoring"] |= {"poll_interval_seconds": 3}
    queue = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    settings["run_coordinator"] = {**queue, "config": {"dequeue_interval_seconds": 1}}
    yaml.dump(settings, file)


def _message(problem: dict[str, Any]) -> str:
    return " ".join([problem["message"], *(link["error"]["message"] for link in problem["errorChain"])])


@contextmanager
def dagit(
    home: Path, workspace: Path, *, daemon: bool = False, environment: dict[str, str] | None = None
) -> Iterator[Dagit]:
    """Give a running Dagit on an instance's home and a workspace file."""
    server = Dagit(home, workspace, environment=environment)
    try:
        server.start(daemon=daemon)
        yield server
    finally:
        server.stop()
