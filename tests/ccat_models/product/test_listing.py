"""Which run a name means."""

from pathlib import Path

import pytest

from ccat_models.lineage.taint import lift, taint
from ccat_models.product.listing import find_run_of
from resources.ops_db import OpsDb
from tests.ccat_models.gap.test_properties import check_look
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give one step that has read two scans together, and again one of them alone as the other one was tainted."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(2):
        works.observatory.scan(number)
    works.declare(step("read", []))
    works.run_all()
    mark(works, taint="bad")
    works.run_all()
    return works


def mark(works: ManualWorld, **said: str) -> None:
    with works.cluster.ops_db.request() as session:
        now = works.cluster.clock()
        if said:
            taint(session, ["scan-1"], reason=said["taint"], by="ada", now=now)
        else:
            lift(session, ["scan-1"], by="ada", now=now)


def meant(works: ManualWorld, text: str = "letters/read/all") -> int:
    with works.cluster.ops_db.read() as session:
        return find_run_of(session, text)


def test_a_path_means_the_newest_product_that_is_not_blocked(works: ManualWorld) -> None:
    assert meant(works) == 2
    mark(works)
    with works.cluster.ops_db.request() as session:
        taint(session, ["scan-0"], reason="bad", by="ada", now=works.cluster.clock())
    assert meant(works) == 2, "all are blocked: the newest"


def test_a_path_means_the_product_found_current_until_a_change(works: ManualWorld) -> None:
    mark(works)
    assert meant(works) == 2, "no look has found which run is current"
    check_look(works, many=100)
    assert meant(works) == 1
    assert meant(works, "letters/read/all/science/text.txt") == 1
    works.ask("read", force=True)
    works.complete()
    assert meant(works) == 3
