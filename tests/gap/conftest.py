from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.works import Works


@pytest.fixture
def works(ops_db: OpsDb, tmp_path: Path) -> Works:
    """Give an observatory without scans and pipelines, whose runs are ended by hand."""
    return Works.open(ops_db, tmp_path)
