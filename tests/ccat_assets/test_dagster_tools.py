"""Dagster's own commands, and Python, load the code location without a server."""

import os
import subprocess  # noqa: TID251 - tests start real programs
from pathlib import Path

import dagster as dg
import pytest

from ccat_assets.dagit.publish import publish_to_home
from ccat_assets.definitions import defs
from resources.ops_db import OpsDb
from tests.support.parts import tree
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEY = "executed_obs_unit=scan-0"
MODULE = ("-m", "ccat_assets.definitions")


@pytest.fixture
def home(sqlite_ops_db: OpsDb, tmp_path: Path) -> Path:
    """Give the home of an observatory whose pipeline `letters` has run nothing yet, and of its Dagster instance."""
    with DagsterWorld.at_home(sqlite_ops_db, tmp_path) as world:
        world.declare("a", "b")
        world.refresh()
    publish_to_home(world.application)
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    database = f"sqlite:///{home / 'ops.sqlite'}"
    return {
        **os.environ,  # noqa: TID251 - PATH and what Python needs
        "DAGSTER_HOME": str(home / "dagster"),
        "CCAT_HOME": str(home),
        "CCAT_DATABASE_URL": database,
        "CCAT_POLL_SECONDS": "0.05",
    }


def dagster(home: Path, *words: str) -> str:
    command = [str(tree.PROGRAMS / "dagster"), *words]
    done = subprocess.run(command, env=environment(home), cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_assets_are_listed(home: Path) -> None:
    assert {"letters/read", "letters/clean", "letters/join"} <= set(dagster(home, "asset", "list", *MODULE).split())


def test_definitions_are_validated(home: Path) -> None:
    assert "Validation successful" in dagster(home, "definitions", "validate", *MODULE)


def test_steps_are_materialized_together(home: Path) -> None:
    selected = ("--select", "letters/read,letters/clean", "--partition", KEY)
    assert "RUN_SUCCESS" in dagster(home, "asset", "materialize", *MODULE, *selected)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        for step in ("read", "clean"):
            (record,) = instance.fetch_materializations(dg.AssetKey(["letters", step]), limit=10).records
            assert record.partition_key == KEY


def test_python_loads_the_definitions(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)
    keys = {spec.key for spec in defs().resolve_all_asset_specs()}
    assert dg.AssetKey(["letters", "join"]) in keys
