import signal
import subprocess  # noqa: TID251 - tests start real programs
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PROGRAMS = Path(sys.executable).parent  # what the environment of the tests has installed


def start(
    command: Sequence[str | Path],
    *,
    log: IO[bytes],
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    dies_by: signal.Signals = signal.SIGTERM,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a program that the kernel ends by `dies_by` when this process ends, however it ends.

    The prefix (e.g. unshare) comes before setpriv because a change of credentials would clear the death signal.
    """
    return subprocess.Popen(
        [*prefix, "setpriv", "--pdeathsig", dies_by.name.removeprefix("SIG"), *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=cwd,
        env=None if environment is None else dict(environment),
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM, within_seconds: float = 20) -> None:
    """End a program that `start` started, and whatever it started and left behind."""
    family = _family(process.pid)
    if process.poll() is None:
        process.send_signal(by)
    try:
        process.wait(within_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=5)


def memory_mb(pid: int) -> float:
    """Return the memory of a process and all its descendants in MiB, pages they share counted once."""
    return sum(_proportional_bytes(process) for process in [psutil.Process(pid), *_family(pid)]) / 2**20


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
