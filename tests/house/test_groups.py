"""Tests of one group share a worker: otherwise each worker boots a Slurm of its own, and nothing says so."""

import re
import subprocess  # noqa: TID251 - pytest in a process of its own
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(12))
def test_it(number):
    pass
"""


def test_a_group_is_run_by_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--dist=loadgroup", "-v"]
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    workers = re.findall(r"\[(gw\d)\].* PASSED", done.stdout)
    assert (len(workers), len(set(workers))) == (12, 1), done.stdout
