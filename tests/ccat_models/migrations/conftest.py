from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.parts.postgres import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def bare_db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpsDb]:
    """Give a database without any tables."""
    if request.param == "sqlite":
        database = OpsDb(f"sqlite:///{tmp_path}/bare.sqlite")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    database = OpsDb(server.url(name))
    yield database
    database.close()
    server.drop_database(name)
