import shutil
import signal
import subprocess  # noqa: TID251 - kills a test process
import sys
import time
from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance

from tests.support.parts.browser import chromium, page
from tests.support.parts.dagit import dagit

ROOT = Path(__file__).parents[2]
DEFINITIONS = """
import dagster as dg

@dg.asset
def first_light() -> None: ...

defs = dg.Definitions([first_light])
"""
START_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.support.parts.dagit import Dagit
server = Dagit(Path(sys.argv[1]), Path(sys.argv[2]))
server.start(daemon=True)
print("started", flush=True)
time.sleep(300)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give the home of an instance that has the project's dagster.yaml."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "first_light.py").write_text(DEFINITIONS)
    path = tmp_path / "workspace.yaml"
    path.write_text("load_from:\n  - python_file: {relative_path: first_light.py, location_name: sky}\n")
    return path


def descendants_of(home: Path) -> list[psutil.Process]:
    """Return the processes that work for an instance."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DAGSTER_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_dagster_instance_of_the_project_sends_no_telemetry_and_resumes_no_run(home: Path) -> None:
    with DagsterInstance.from_config(str(home)) as instance:
        assert (instance.telemetry_enabled, instance.nux_enabled) == (False, False)
        assert (instance.run_monitoring_enabled, instance.run_monitoring_max_resume_run_attempts) == (True, 0)
        assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 10


@pytest.mark.real
@pytest.mark.slow
def test_dagit_shows_an_asset_in_a_browser_and_leaves_nothing_behind(home: Path, workspace: Path) -> None:
    with dagit(home, workspace, daemon=True) as server:
        answer = server.graphql("{ assetsOrError { ... on AssetConnection { nodes { key { path } } } } }")
        assert answer == {"assetsOrError": {"nodes": [{"key": {"path": ["first_light"]}}]}}
        assert 100 < server.memory_mb() < 4000
        with chromium() as browser, page(browser) as opened:
            opened.goto(f"{server.url}/asset-groups/")
            opened.get_by_text("first_light").first.wait_for(timeout=60_000)
        assert len(descendants_of(home)) >= 3
    assert descendants_of(home) == []


@pytest.mark.real
@pytest.mark.slow
def test_a_location_that_does_not_load_is_an_error(home: Path, workspace: Path) -> None:
    (workspace.parent / "first_light.py").write_text("raise ValueError('clouds')")
    with pytest.raises(RuntimeError, match="clouds"), dagit(home, workspace):
        pass
    assert descendants_of(home) == []


@pytest.mark.real
@pytest.mark.slow
def test_dagit_dies_with_the_process_that_started_it(home: Path, workspace: Path) -> None:
    command = [sys.executable, "-c", START_AND_WAIT, str(home), str(workspace)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        assert len(descendants_of(home)) >= 3
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 90  # code servers end 45 s after the last call
    while (left := descendants_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
