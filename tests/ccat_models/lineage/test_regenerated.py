"""What a lineage says of runs whose products were purged, and of those that have made them again."""

from pathlib import Path

import pytest

from ccat_models.lineage.closure import lineage_of
from ccat_models.lineage.completed import completed_runs
from ccat_models.product.listing import list_products
from ccat_models.tables.base import RunId
from ccat_models.tables.space import SpaceState
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

NUMBERS = {"rms": 0.1}
SAME, OTHER = {"text.txt": "text"}, {"text.txt": "other text"}
JOIN, RESTORING, REPLACING, FAILED = map(RunId, (5, 6, 7, 8))


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give four scans, read and purged: one regenerated, one differently, one in vain, one not at all."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(4):
        works.observatory.scan(number)
    works.declare(step("read"), step("join", [], depends_on=["read"]))
    works.request()
    works.complete(outputs=SAME, numbers=NUMBERS)
    works.run_all()
    assert works.purge() == 4
    works.regenerate_and_complete(RunId(1), outputs=SAME, numbers=NUMBERS)
    works.regenerate_and_complete(RunId(2), outputs=OTHER, numbers=NUMBERS)
    works.fail(*works.regenerate(RunId(3)))
    return works


def test_a_lineage_says_what_exists_and_which_run_regenerated_it(works: ManualWorld) -> None:
    with works.cluster.ops_db.read() as session:
        runs = {**lineage_of(session, JOIN).runs, **lineage_of(session, RESTORING).runs}
        removed = {
            one.run_id: (one.removed, one.restored_by) for one in list_products(session) if one.path == "text.txt"
        }
    assert {run.id: run.marks for run in runs.values()} == {
        1: (f"restored by run {RESTORING}",),
        2: (f"replaced by run {REPLACING}",),
        3: ("lost",),
        4: ("purged",),
        JOIN: (),
        RESTORING: ("regenerates run 1's products",),
    }
    states = {1: (None, RESTORING), 2: (SpaceState.REPLACED, None), 3: (SpaceState.LOST, None)}
    assert removed == states | {4: (SpaceState.PURGED, None), REPLACING: (None, None)}


def test_a_run_that_has_restored_products_has_made_these(works: ManualWorld) -> None:
    with works.cluster.ops_db.read() as session:
        found = completed_runs(session, [RESTORING, REPLACING])
    made = {run: {path: product.run_id for path, product in one.products.items()} for run, one in found.items()}
    assert made == {
        RESTORING: {"text.txt": 1, "qa/numbers.json": RESTORING},
        REPLACING: {"text.txt": REPLACING, "qa/numbers.json": REPLACING},
    }
    assert found[RESTORING].numbers == found[REPLACING].numbers == {"qa/numbers.json": NUMBERS}
