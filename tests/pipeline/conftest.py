import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.pipeline.world import refurnish


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def shared_ops_db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpsDb]:
    """Give one ops-db on each database to all tests here: making one for each test takes longer than the tests."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("pipeline") / "ops.sqlite"
        template: Path = request.getfixturevalue("sqlite_template")
        url = f"sqlite:///{shutil.copyfile(template, path)}"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database(request.getfixturevalue("postgres_template")))
    database = OpsDb(url)
    yield database
    database.close()


@pytest.fixture
def world(shared_ops_db: OpsDb) -> OpsDb:
    """Give an ops-db with an observatory and locations and nothing else, once on each database."""
    refurnish(shared_ops_db)
    return shared_ops_db
