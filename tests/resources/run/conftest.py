from datetime import timedelta
from pathlib import Path

import pytest

from resources.backend import Timing
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.request.attached import Attached
from resources.run.executor import Executor
from tests.support.parts.apptainer import apptainer_image
from tests.support.parts.clusters import local_cluster
from tests.support.parts.ops_db import empty
from tests.support.programs.tiny import write_programs
from tests.support.worlds.manual import ManualWorld
from tests.support.worlds.observatory import ObservatoryWorld
from tests.support.worlds.ticked import TickedWorld

__all__ = ["apptainer_image"]  # pytest finds fixtures by their names


@pytest.fixture
def observatory(ops_db: OpsDb, tmp_path: Path) -> ObservatoryWorld:
    """Give an observatory with no scans yet."""
    observatory = ObservatoryWorld(ops_db, tmp_path)
    observatory.open()
    return observatory


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Give the directory of the tiny programs."""
    return write_programs(tmp_path / "code")


@pytest.fixture
def cluster(observatory: ObservatoryWorld) -> Cluster:
    """Give the local back end on the observatory's processing location."""
    timing = Timing(lost_after=timedelta(seconds=1), resend_after=timedelta(seconds=1))
    base = observatory.base / "workspace"
    return local_cluster(observatory.ops_db, base, slots=4, clock=observatory.clock, timing=timing)


@pytest.fixture
def attached(cluster: Cluster, observatory: ObservatoryWorld) -> Attached:
    """Give a requester that waits; each of its looks takes a tenth of a second of the observatory's time."""

    def sleep(seconds: float) -> None:
        import time

        time.sleep(0.02)
        observatory.clock.pass_seconds(seconds)

    return Attached(Executor(cluster), waiter="test", poll_seconds=0.1, sleep=sleep)


@pytest.fixture
def bench(shared_ops_db: OpsDb, tmp_path: Path) -> TickedWorld:
    """Give an observatory whose step `read` is moved on tick by tick."""
    empty(shared_ops_db)
    return TickedWorld(ManualWorld.open(shared_ops_db, tmp_path))
