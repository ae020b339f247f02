"""A lab that a real Dagit with its daemon shows."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from resources.ops_db import OpsDb
from tests.support.parts.dagit import Dagit, dagit, hurry
from tests.support.worlds.in_dagster import DagsterWorld

_ROOT = Path(__file__).parents[3]


@contextmanager
def served_lab(ops_db: OpsDb, base: Path, fill: Callable[[DagsterWorld], None]) -> Iterator[tuple[DagsterWorld, Dagit]]:
    """Give a lab, filled before Dagit loads it, and a Dagit with its daemon on it, below a directory."""
    home = base / "dagster"
    home.mkdir()
    shutil.copyfile(_ROOT / "dagster.yaml", home / "dagster.yaml")
    hurry(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        lab = DagsterWorld.open(ops_db, instance, base)
        fill(lab)
        environment = {"CCAT_HOME": str(base), "CCAT_DATABASE_URL": str(ops_db.url), "CCAT_LOCAL_SLOTS": "4"}
        with dagit(home, _ROOT / "workspace.yaml", daemon=True, environment=environment) as running:
            yield lab, running
