from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from resources.ops_db import OpsDb
from tests.support.worlds.lab import Lab


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Give a Dagster instance in memory, with the real storage's code."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, instance: dg.DagsterInstance, tmp_path: Path) -> Lab:
    """Give an observatory with tiny programs, and Dagster beside it."""
    return Lab.open(sqlite_ops_db, instance, tmp_path)


@pytest.fixture
def lab_on_each(ops_db: OpsDb, instance: dg.DagsterInstance, tmp_path: Path) -> Lab:
    """Give the same, once on each database."""
    return Lab.open(ops_db, instance, tmp_path)
