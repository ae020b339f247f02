import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ccat_models import migrations
from resources.ops_db import OpsDb
from tests.support.faults.fault_table import fault_table, pytest_addoption
from tests.support.parts.compiled import compile_once
from tests.support.parts.login_node import login_node, node
from tests.support.parts.not_run import pytest_terminal_summary
from tests.support.parts.postgres import PostgresServer
from tests.support.parts.rgw import s3_server
from tests.support.parts.shared_db import shared_ops_db
from tests.support.parts.slurm_cluster import slurm_cluster

# pytest finds them by name
__all__ = [
    "fault_table",
    "login_node",
    "node",
    "pytest_addoption",
    "pytest_terminal_summary",
    "s3_server",
    "shared_ops_db",
    "slurm_cluster",
]

# How long an example takes depends on how busy the machine is. A test that suppresses other checks must repeat this one.
settings.register_profile("no-clock", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")
compile_once()


def pytest_configure() -> None:
    """Handle SIGINT, which a shell makes its background processes ignore, here and in all programs that tests start.

    Dagster treats SIGTERM as it finds SIGINT treated: its code servers, and the `tail` that each of their runs waits a
    minute for, could not be ended.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _keep_bytecode()


def _keep_bytecode() -> None:
    """Let this process and the programs that tests start keep what they compile, whatever the environment says.

    Without it each of some hundred programs compiles the project's modules again, and pytest rewrites all tests again.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # noqa: TID251 - what tests start inherits it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests that need no shared server: no worker must be left alone with one at the end."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Return 0 for a test that may take minutes, 1 for one of more than ten seconds, 2 for all others."""
    if item.get_closest_marker("xdist_group") is not None:
        return 2
    limit = item.get_closest_marker("timeout")
    if limit is not None and limit.args[0] >= 900:
        return 0
    return 1 if item.get_closest_marker("slow") else 2


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of an embedded ops-db that has its tables and nothing else."""
    path = tmp_path_factory.mktemp("template") / "ops.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a running PostgreSQL, one for each worker."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """Give the name of a database that has ops-db's tables and nothing else."""
    name = postgres_server.create_database()
    _migrate(postgres_server.url(name))
    return name


@pytest.fixture
def sqlite_ops_db(sqlite_template: Path, tmp_path: Path) -> Iterator[OpsDb]:
    """Give an embedded ops-db of this test's own."""
    path = tmp_path / "ops.sqlite"
    shutil.copyfile(sqlite_template, path)
    database = OpsDb(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def postgres_ops_db(postgres_server: PostgresServer, postgres_template: str) -> Iterator[OpsDb]:
    """Give an ops-db on PostgreSQL of this test's own; mark the test as real."""
    name = postgres_server.create_database(postgres_template)
    database = OpsDb(postgres_server.url(name))
    yield database
    database.close()
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def ops_db(request: pytest.FixtureRequest) -> OpsDb:
    """Give an ops-db of this test's own, once on each database."""
    fixture = {"sqlite": "sqlite_ops_db", "postgresql": "postgres_ops_db"}[request.param]
    database: OpsDb = request.getfixturevalue(fixture)
    return database


def _migrate(url: str) -> None:
    database = OpsDb(url)
    migrations.upgrade(database.engine)
    database.close()
