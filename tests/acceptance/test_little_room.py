"""CHAI where there is room for a fifth of what it makes: the same map, and a second one from regenerated products."""

import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ruamel.yaml import YAML

from ccat_models.tables.pipelines import ReductionStep
from ccat_models.tables.space import RunSpace, SpaceState
from examples.chai.observe import observe
from resources.ops_db import OpsDb
from tests.support.hands.operating import Observation, Operator

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

CHAI = Path(__file__).parents[2] / "examples" / "chai"
SCANS = 6
MB = 1_000_000
WATCH_SECONDS = 0.05
DUMPS_BYTES = 168 * MB  # of each scan, besides its spectra: 1 GB in all
LIMIT_BYTES = 200 * MB
MOST_BYTES = LIMIT_BYTES + 20 * MB  # with what is no product, and so not counted: logs, manifests, code
CALIBRATE = f"""
import numpy as np
from calibrate import reduce
from chai_contract import run

def with_dumps(task):
    reduce(task)
    spectra = task.product("intermediate/spectra.fits").read_bytes()
    np.resize(np.frombuffer(spectra, dtype=np.uint8), {DUMPS_BYTES}).tofile(task.product("intermediate/dumps.dat"))

if __name__ == "__main__":
    run(with_dumps)
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give simulated scans of NGC 253."""
    return observe(tmp_path_factory.mktemp("scans"), scans=SCANS).parent


def declare(directory: Path, *, dumps: bool, order: int = 1) -> Path:
    """Write the pipeline with its programs; with dumps, calibration leaves what later steps do not read."""
    shutil.copytree(CHAI, directory, dirs_exist_ok=True)
    yaml = YAML()
    declared = yaml.load(directory / "pipeline.yaml")
    if dumps:
        version = declared["software"][0]["versions"][0]
        version["command"][1] = "with_dumps.py"
        version["code"].append("with_dumps.py")
        (directory / "with_dumps.py").write_text(CALIBRATE)
    declared["steps"][1]["parameters"]["order"] = order
    yaml.dump(declared, directory / "pipeline.yaml")
    return directory / "pipeline.yaml"


def calibrations(operator: Operator) -> Counter[SpaceState]:
    """Return how many calibrations of scans are on disk, and how many were purged."""
    ops_db = OpsDb(f"sqlite:///{operator.home / 'ops.sqlite'}")
    query = sa.select(RunSpace.state).join(ReductionStep, ReductionStep.id == RunSpace.step_id)
    with ops_db.read() as session:
        found = session.scalars(query.where(ReductionStep.name == "calibrate", RunSpace.removable_bytes > MB))
        counted = Counter(found)
    ops_db.close()
    return counted


def on_disk(operator: Operator) -> int:
    """Return the number of bytes in the workspace, whose files may vanish meanwhile."""
    size_bytes = 0
    for directory, _, names in os.walk(operator.home / "workspace"):
        for name in names:
            with suppress(FileNotFoundError):
                size_bytes += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - half the time
    return size_bytes


@contextmanager
def watched(operator: Operator) -> Iterator[list[int]]:
    """Collect the number of bytes in the workspace again and again."""
    seen, over = list[int](), threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            seen.append(on_disk(operator))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def maps(operator: Operator) -> dict[str, str]:
    """Return the checksums of the newest map's files."""
    rows = operator.ccat("products", "chai-ngc253", "map", "--limit", "1000")
    newest = max(row["run_id"] for row in rows)
    return {row["path"]: row["sha256"] for row in rows if row["run_id"] == newest and row["type"] == "science"}


def work(operator: Operator, scans: Path, declaration: Path) -> Any:
    """Let the scans arrive, declare the pipeline and run all of it."""
    return operator.work(Observation("chai-ngc253", "chai", (scans,), {}), declaration)


def test_the_map_is_the_same_and_a_second_one_regenerates_only_what_is_missing(scans: Path, tmp_path: Path) -> None:
    with_room = Operator(tmp_path / "with-room")
    work(with_room, scans, declare(tmp_path / "plain", dumps=False))
    reference = maps(with_room)

    little = Operator(tmp_path / "little", {"SPACE_LIMIT": "200 MB"})
    with watched(little) as seen:
        first = work(little, scans, declare(tmp_path / "dumps", dumps=True))
    assert (first["failed"], first["made_again"]) == ([], {})
    assert maps(little) == reference
    assert DUMPS_BYTES <= max(seen) <= MOST_BYTES

    there = calibrations(little)
    assert there[SpaceState.PURGED] >= SCANS - 1
    little.ccat("pipeline", "apply", declare(tmp_path / "dumps", dumps=True, order=2))
    with watched(little) as seen:
        second = little.ccat("run", "chai-ngc253", "--no-publish", "--ignore-cooldown")
    assert second["failed"] == []
    assert second["made_again"] == {"calibrate": there[SpaceState.PURGED]}
    assert second["created"] == {"calibrate": 0, "baseline": SCANS, "map": 1}
    assert DUMPS_BYTES <= max(seen) <= MOST_BYTES

    with_room.ccat("pipeline", "apply", declare(tmp_path / "plain", dumps=False, order=2))
    with_room.ccat("run", "chai-ngc253", "--no-publish", "--ignore-cooldown")
    assert maps(little) == maps(with_room) != reference
