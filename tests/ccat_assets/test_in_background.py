"""Dagster started in the background, by `&` in a script, nohup or cron: it inherits SIGINT as ignored."""

import signal
import socket
import subprocess  # noqa: TID251 - tests start real programs
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.scheduler.instigation import InstigatorTick  # noqa: TID251 - of ticks there is no public list

from tests.support.parts import tree
from tests.support.parts.deployment import clean_environment
from tests.support.parts.postgres import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]

IN_BACKGROUND = ("env", "--ignore-signal=INT")
MOST_SECONDS = 25  # a tick that waits for processes that ignore SIGTERM takes more than 60


@contextmanager
def in_background(home: Path, *command: str | Path) -> Iterator[psutil.Process]:
    """Start a program as a script does with `&`; its output goes to `log` in the home."""
    with (home / "log").open("ab") as log:
        started = tree.start(command, log=log, cwd=home, environment=environment(home), prefix=IN_BACKGROUND)
    try:
        yield psutil.Process(started.pid)
    finally:
        tree.end(started)


def environment(home: Path) -> dict[str, str]:
    return clean_environment(CCAT_HOME=str(home), DAGSTER_HOME=str(home / "dagster"))


def until(condition: Callable[[], object], within_seconds: float = 240) -> None:
    end = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.2)


def ends_by_sigterm(program: psutil.Process, within_seconds: float) -> bool:
    """Say whether a program and all that it started end in time after SIGTERM was sent to the program alone."""
    family = [program, *program.children(recursive=True)]
    program.send_signal(signal.SIGTERM)
    end = time.monotonic() + within_seconds
    while running := [process for process in family if is_running(process)]:
        if time.monotonic() > end:
            return False
        psutil.wait_procs(running, timeout=0.2)
    return True


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def words(process: psutil.Process) -> list[str]:
    """Return the command of a process, nothing if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def ignores(process: psutil.Process, number: signal.Signals) -> bool:
    """Say whether a process ignores a signal."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    (ignored,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(ignored & 1 << number - 1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tails(base: Path) -> list[psutil.Process]:
    """Return the processes that copy the logs of runs below a directory."""
    found = psutil.process_iter(["name", "cmdline"])
    return [one for one in found if one.info["name"] == "tail" and str(base) in " ".join(one.info["cmdline"] or ())]


def publishing_ticks(home: Path) -> list[InstigatorTick]:
    """Return the ticks of the sensor `publishing` that published something."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        states = [state for state in instance.all_instigator_state() if state.instigator_name == "publishing"]
        ticks = [tick for state in states for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]
    return [tick for tick in ticks if "runs were published" in (tick.skip_reason or "")]


def test_a_code_server_heeds_sigterm_once_it_has_loaded_the_definitions(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "dagster").mkdir()
    command = (tree.PROGRAMS / "dagster", "api", "grpc", "-m", "ccat_assets.definitions")
    with in_background(tmp_path, *command, "-h", "127.0.0.1", "-p", str(port)) as server:
        until(lambda: listens(port))
        until(lambda: not ignores(server, signal.SIGTERM), within_seconds=30)
        assert ends_by_sigterm(server, within_seconds=30)


def test_the_served_demonstration_publishes_within_seconds_and_ends_by_sigterm(tmp_path: Path) -> None:
    ccat = tree.PROGRAMS / "ccat"
    with in_background(tmp_path, ccat, "demo", "--serve", "--scans", "1", "--port", "0") as demonstration:
        until(lambda: any("dagster._daemon" in words(one) for one in demonstration.children()))
        again = ("run", "site-pwv", "--step", "climatology", "--force", "--no-publish")
        subprocess.run([ccat, *again], env=environment(tmp_path), cwd=tmp_path, check=True, capture_output=True)
        until(lambda: publishing_ticks(tmp_path))
        (tick,) = publishing_ticks(tmp_path)
        assert (tick.end_timestamp or 0) - tick.timestamp < MOST_SECONDS
        assert ends_by_sigterm(demonstration, within_seconds=60)
        assert tails(tmp_path) == []
