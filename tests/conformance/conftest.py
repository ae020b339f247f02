import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from tests.support.parts.apptainer import Image, apptainer_image
from tests.support.parts.ops_db import empty
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.back_ends import BackEndWorld

__all__ = ["apptainer_image"]  # pytest finds fixtures by their names

ON_SLURM = [pytest.mark.real, pytest.mark.xdist_group("slurm")]
SLURM = [pytest.param(name, marks=ON_SLURM) for name in ("slurm", "ssh")]


@pytest.fixture(scope="session")
def one_ops_db(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpsDb]:
    """Give one database to all tests here, which empty it."""
    path = shutil.copyfile(sqlite_template, tmp_path_factory.mktemp("conformance") / "ops.sqlite")
    database = OpsDb(f"sqlite:///{path}")
    yield database
    database.close()


def open_yard(place: str, request: pytest.FixtureRequest, base: Path) -> BackEndWorld:
    """Open a yard on `local`, `slurm`, or `ssh`: Slurm behind a login node."""
    database: OpsDb = request.getfixturevalue("one_ops_db")
    empty(database)
    slurm: SlurmCluster | None = None if place == "local" else request.getfixturevalue("slurm_cluster")
    if slurm is not None and place == "slurm":  # LocalShell passes it through
        request.getfixturevalue("monkeypatch").setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    return BackEndWorld.open(database, base, slurm, request.getfixturevalue("login_node") if place == "ssh" else None)


@pytest.fixture(params=["local", *SLURM])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackEndWorld]:
    """Give a yard on each back end."""
    opened = open_yard(request.param, request, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=SLURM)
def slurm_yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackEndWorld]:
    """Give a yard on Slurm, here and behind a login node."""
    opened = open_yard(request.param, request, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=["process", pytest.param("apptainer", marks=pytest.mark.real)])
def image(request: pytest.FixtureRequest) -> Image | None:
    """Give the image that programs run in, None for plain processes."""
    found: Image | None = request.getfixturevalue("apptainer_image") if request.param == "apptainer" else None
    return found


@pytest.fixture
def yard_on_slurm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackEndWorld]:
    """Give a yard on Slurm without a login node, for what does not depend on the way there."""
    opened = open_yard("slurm", request, tmp_path)
    yield opened
    opened.close()
