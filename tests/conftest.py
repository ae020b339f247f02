from collections.abc import Iterator
from pathlib import Path

import pytest

from ccat_models.tables import Base
from resources.ops_db import OpsDb


@pytest.fixture
def ops_db(tmp_path: Path) -> Iterator[OpsDb]:
    database = OpsDb(f"sqlite:///{tmp_path}/ops.sqlite")
    Base.metadata.create_all(database.engine)
    yield database
    database.close()
