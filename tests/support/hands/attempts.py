"""Attempts without a database: a job.json in a directory, the real wrapper, its outputs."""

import atexit
import os
import shutil
import subprocess  # noqa: TID251 - tests start real programs
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ccat_models.contract.job import Job
from ccat_models.contract.result import Result
from resources.node.wrapper.memory import MemoryCgroup
from resources.shell.remote_program import program_command
from resources.workspace.directories import parse_result
from resources.workspace.store import AttemptStore
from tests.support.parts.not_run import not_run

KEY = "6f0c0de5"
PATIENCE_SECONDS = 20.0


def python(code: str) -> tuple[str, ...]:
    """Return the command that runs this code."""
    return (sys.executable, "-I", "-S", "-c", code)


def write_job(directory: Path, command: tuple[str, ...], **fields: Any) -> Path:
    """Create what a wrapper needs of an attempt's directory; return its directory."""
    (directory / "output").mkdir(parents=True)
    values: dict[str, Any] = {
        "submission_key": KEY,
        "run_id": 12,
        "attempt": 2,
        "command": command,
        "environment": {},
        "working_directory": str(directory / "output"),
        "output_directory": "output",
        "time_limit_seconds": None,
        "grace_seconds": 0.3,
        "runtime": "process",
        "image_path": None,
        "image_sha256": None,
        "job_id_variable": None,
    }
    (directory / "job.json").write_text(Job.model_validate(values | fields).model_dump_json())
    return directory


@cache
def node_program() -> Path:
    """Return the installed program; the file goes when the tests end."""
    directory = Path(tempfile.mkdtemp(prefix="ccat-node-"))
    atexit.register(shutil.rmtree, directory)
    return AttemptStore.here(directory).install_program()


def start_wrapper(
    directory: Path, key: str = KEY, *, interpreter: str = sys.executable, **environment: str
) -> "subprocess.Popen[str]":
    """Start the wrapper as a back end does."""
    return subprocess.Popen(
        program_command(interpreter, node_program(), "wrapper", str(directory), key),
        env={"PATH": os.defpath, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_in(cgroup: Path, directory: Path) -> "subprocess.Popen[str]":
    """Start the wrapper in a cgroup, as a scheduler does."""
    command = program_command(sys.executable, node_program(), "wrapper", str(directory), KEY)
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    return subprocess.Popen(
        ["sh", "-c", enter, str(cgroup), *command],
        env={"PATH": os.defpath},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """Give a new cgroup below this process's own, with a memory limit of 100 MiB and no swap."""
    found = MemoryCgroup().place
    if found is None:
        not_run("a memory cgroup", "as root, where /sys/fs/cgroup is mounted", installable=False)
    place, version = Path(found[0]) / f"ccat-test-{os.getpid()}", found[2]
    limit = "memory.limit_in_bytes" if version == 1 else "memory.max"
    try:
        place.mkdir()
        (place / limit).write_text(str(100 << 20))
    except OSError as error:
        if place.exists():
            place.rmdir()
        remedy = f"as root, where {place.parent} may be written: {error.strerror}"
        not_run("a memory cgroup", remedy, installable=False)
    swap = place / ("memory.memsw.limit_in_bytes" if version == 1 else "memory.swap.max")
    if swap.exists():
        swap.write_text(str(100 << 20) if version == 1 else "0")
    yield place
    place.rmdir()


def finish(wrapper: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a wrapper and return its exit status and its error output."""
    errors = wrapper.communicate(timeout=PATIENCE_SECONDS)[1]
    return wrapper.returncode, errors


def run(directory: Path, command: tuple[str, ...], **fields: Any) -> Result:
    """Run an attempt to its end and return its result."""
    finish(start_wrapper(write_job(directory, command, **fields)))
    return result_of(directory)


def result_of(directory: Path) -> Result:
    """Return the result that must be there."""
    path = directory / "result.json"
    return parse_result(path.read_bytes(), str(path), KEY)


def eventually(condition: Callable[[], object]) -> None:
    """Return once the condition holds; fail when patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)


def alive(pid_file: Path) -> bool:
    """Say whether the process that wrote its id is still there."""
    try:
        return Path(f"/proc/{int(pid_file.read_text())}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
