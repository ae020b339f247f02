import shutil
import subprocess  # noqa: TID251 - processes that open an instance at the same time
import sys
from pathlib import Path

import pytest

from ccat_assets.operate.initialise import initialise
from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
OPENS = """
import sys, dagster as dg
print("ready", flush=True)
sys.stdin.readline()
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    instance.get_runs_count(), instance.all_asset_keys(), instance.all_instigator_state()
"""
DATABASES = ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"]


def application(tmp_path: Path) -> Application:
    return Application(Settings(home=tmp_path))


def databases(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*.db"))


def open_at_once(home: Path) -> list[str]:
    """Let three processes open an instance at the same time and return what those said that could not."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-W", "ignore", "-c", OPENS, str(home)]
    openers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    said = [opener.communicate(timeout=60)[1] for opener in openers]
    return [text for text, opener in zip(said, openers, strict=True) if opener.returncode]


def test_several_programs_may_open_a_new_instance_at_once(tmp_path: Path) -> None:
    app = application(tmp_path)
    home = app.settings.dagster_directory
    assert initialise(app)[-1] == f"wrote {home / 'dagster.yaml'}"
    assert databases(home) == DATABASES
    assert open_at_once(home) == []
    assert initialise(app) == []


def test_databases_that_are_missing_are_made(tmp_path: Path) -> None:
    app = application(tmp_path)
    initialise(app)
    home = app.settings.dagster_directory
    shutil.rmtree(home / "history")
    assert initialise(app) == [f"made Dagster's databases in {home}"]
    assert databases(home) == DATABASES


def test_an_instance_that_is_kept_elsewhere_is_left_alone(tmp_path: Path) -> None:
    app = application(tmp_path)
    home = app.settings.dagster_directory
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_url: postgresql://nobody@127.0.0.1:1/none\n"
    )
    assert not any("Dagster" in done for done in initialise(app))
    assert databases(home) == []
