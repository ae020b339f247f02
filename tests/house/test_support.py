import os
import signal
import subprocess  # noqa: TID251 - kills a test process
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.parts.not_run import summary

ROOT = Path(__file__).parents[2]
START_AND_WAIT = """
from tests.support.parts.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.pid, flush=True)
time.sleep(300)
"""
NEEDS_TWO_THINGS = """
import pytest
from tests.support.parts.not_run import not_run
@pytest.fixture(scope="session")
def moon():
    not_run("the Moon", "wait")
def test_one(moon): raise AssertionError
def test_two(moon): raise AssertionError
def test_three(): not_run("a star", "wait for night")
def test_four(): pytest.skip("something else")
"""


@pytest.mark.real
def test_postgresql_dies_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", START_AND_WAIT], cwd=ROOT, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        postmaster = psutil.Process(int(starter.stdout.readline()))
        assert postmaster.name() == "postgres"
        folder = Path(postmaster.cmdline()[2]).parent
        family = [postmaster, *postmaster.children(recursive=True)]
        starter.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert folder.name.startswith("ccat-postgres-")
    subprocess.run(["rm", "-r", str(folder)], check=True)


def run_tests(folder: Path, text: str, *, required: str) -> tuple[int, str]:
    (folder / "test_needs.py").write_text(text)
    (folder / "conftest.py").write_text("from tests.support.parts.not_run import pytest_terminal_summary\n")
    (folder / "pytest.ini").write_text("[pytest]")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REQUIRE_REAL_PARTS": required}  # noqa: TID251
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_skipped_tests_are_named_at_the_end(tmp_path: Path) -> None:
    code, output = run_tests(tmp_path, NEEDS_TWO_THINGS, required="")
    assert code == 0
    assert "NOT RUN: 1 test needs a star (wait for night)\nNOT RUN: 2 tests need the Moon (wait)\n" in output


def test_skipped_tests_fail_where_their_parts_are_required(tmp_path: Path) -> None:
    code, output = run_tests(tmp_path, NEEDS_TWO_THINGS, required="1")
    assert code == 1
    assert "NOT RUN: 1 test needs a star (wait for night)\nNOT RUN: 2 tests need the Moon (wait)\n" in output
    assert "1 failed, 1 skipped, 2 errors" in output


def test_nothing_is_printed_where_all_tests_ran() -> None:
    assert summary(["Skipped: something else"]) == []


def test_skipped_tests_of_parts_that_cannot_be_installed_are_named_and_never_fail(tmp_path: Path) -> None:
    text = NEEDS_TWO_THINGS.replace('"wait")', '"wait", installable=False)').replace(
        '"wait for night")', '"wait for night", installable=False)'
    )
    code, output = run_tests(tmp_path, text, required="1")
    assert code == 0
    assert "NOT RUN: 2 tests need the Moon (wait)" in output
