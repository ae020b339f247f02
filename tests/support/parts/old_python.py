"""The oldest Python on this machine that the program for other machines has to run with."""

import os
import shutil
import subprocess  # noqa: TID251 - tests start real programs
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parts.not_run import not_run

_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))  # noqa: TID251 - where tools are is no setting of ours


def _pythons(version: str) -> Iterator[str]:
    """Yield the interpreters of a version that start: a name on PATH may be pyenv's, for the chosen version."""
    name, code = f"python{version}", "import sys; print('%d.%d' % sys.version_info[:2])"
    for place in (shutil.which(name), *map(str, (_PYENV / "versions").glob(f"{version}.*/bin/{name}"))):
        if place is not None:
            done = subprocess.run([place, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.strip() == version:
                yield place


@pytest.fixture(scope="session")
def old_python() -> str:
    """Give the path of the oldest Python from 3.6 on, older than the one that runs the tests."""
    found = (python for minor in range(6, sys.version_info.minor) for python in _pythons(f"3.{minor}"))
    return next(found, None) or not_run("an older Python", "3.6 on PATH or below ~/.pyenv", installable=False)
