import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccat_models.lineage.record import ProvenanceRecord
from resources.ops_db import OpsDb
from tests.support.worlds.provenance import EventfulWorld, eventful


@pytest.fixture(scope="session")
def happened(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[EventfulWorld]:
    """Give a history in which everything happened; to look at, not to change."""
    base = tmp_path_factory.mktemp("eventful")
    database = OpsDb(f"sqlite:///{shutil.copyfile(sqlite_template, base / 'ops.sqlite')}")
    yield eventful(database, base)
    database.close()


@pytest.fixture(scope="session")
def record(happened: EventfulWorld) -> ProvenanceRecord:
    """Give the record of the map."""
    return happened.record("letters/map/all")
