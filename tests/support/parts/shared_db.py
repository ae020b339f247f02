import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def shared_ops_db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpsDb]:
    """Give one ops-db on each database to many tests: its statements are compiled once, which takes the longest."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("shared") / "ops.sqlite"
        template: Path = request.getfixturevalue("sqlite_template")
        url = f"sqlite:///{shutil.copyfile(template, path)}"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database(request.getfixturevalue("postgres_template")))
    database = OpsDb(url)
    yield database
    database.close()
