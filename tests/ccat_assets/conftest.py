from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.ops_db import OpsDb
from tests.support.worlds.in_dagster import DagsterWorld


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Give a Dagster instance in memory, with the real storage's code."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, instance: dg.DagsterInstance, tmp_path: Path) -> DagsterWorld:
    """Give an observatory with tiny programs, and Dagster beside it."""
    return DagsterWorld.open(sqlite_ops_db, instance, tmp_path)


@pytest.fixture
def lab_on_each(ops_db: OpsDb, instance: dg.DagsterInstance, tmp_path: Path) -> DagsterWorld:
    """Give the same, once on each database."""
    return DagsterWorld.open(ops_db, instance, tmp_path)
