from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.letters import LettersWorld


@pytest.fixture
def tiny(shared_ops_db: OpsDb, tmp_path: Path) -> LettersWorld:
    """Give an observatory without scans, and the pipeline `letters` declared on it."""
    empty(shared_ops_db)
    return LettersWorld.open(shared_ops_db, tmp_path)


@pytest.fixture
def embedded(sqlite_ops_db: OpsDb, tmp_path: Path) -> LettersWorld:
    """Give the same on the embedded database alone."""
    return LettersWorld.open(sqlite_ops_db, tmp_path)
