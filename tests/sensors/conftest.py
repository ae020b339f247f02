from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.ops_db import OpsDb
from tests.support.worlds.in_dagster import DagsterWorld


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[DagsterWorld]:
    """Give an observatory with tiny programs, and Dagster beside it."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterWorld.open(sqlite_ops_db, instance, tmp_path)


@pytest.fixture
def lab_on_each(ops_db: OpsDb, tmp_path: Path) -> Iterator[DagsterWorld]:
    """Give the same, once on each database."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterWorld.open(ops_db, instance, tmp_path)


@pytest.fixture
def lab_at_home(sqlite_ops_db: OpsDb, tmp_path: Path) -> Iterator[DagsterWorld]:
    """Give the same with a Dagster that other processes can open, below `dagster`."""
    with DagsterWorld.at_home(sqlite_ops_db, tmp_path) as lab:
        yield lab
