import os
import subprocess  # noqa: TID251 - tests mount
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hands.attempts import memory_cgroup
from tests.support.parts.apptainer import apptainer_image
from tests.support.parts.not_run import not_run
from tests.support.parts.old_python import old_python
from tests.support.parts.registry import registry

__all__ = ["apptainer_image", "memory_cgroup", "old_python", "registry"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "ccat-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        not_run("a small file system", "as root, where tmpfs may be mounted", installable=False)
    yield place
    subprocess.run(["umount", str(place)], check=True)
