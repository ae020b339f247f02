from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.ops_db import empty
from tests.support.shared_db import shared_ops_db
from tests.support.works import Works

__all__ = ["shared_ops_db"]  # pytest finds the fixture by its name


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> Works:
    """Give an observatory of four scans, whose runs are ended by hand."""
    empty(shared_ops_db)
    works = Works.open(shared_ops_db, tmp_path)
    for number in range(4):
        works.observatory.scan(number)
    return works
