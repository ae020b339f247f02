"""Which affected products count: none that is blocked, gone or evidence only; a blocked newer run changes nothing."""

from collections import Counter
from pathlib import Path

import pytest

from ccat_models.lineage.completed import current_runs
from ccat_models.lineage.impact import impact_by_step, touched_products
from ccat_models.lineage.record_reading import read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.lineage.start import find_start
from ccat_models.lineage.taint import taint
from ccat_models.lineage.validity import Validity
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

pytestmark = pytest.mark.slow

FIRST, SECOND = RunId(1), RunId(2)
MADE = {"text.txt": "text", "plots/text.png": "drawn"}
GOOD = {"rms": 0.1}
OTHER = MADE | {"text.txt": "other text"}
BLOCKED, CURRENT, EVIDENCE, GONE = Validity.BLOCKED, Validity.CURRENT, Validity.EVIDENCE, Validity.GONE
SUPERSEDED = Validity.SUPERSEDED


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give a scan that was read, and another step of what that makes, so that it is no final one."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    works.observatory.scan(0)
    works.declare(
        step("read", quality=[{"metric": "rms", "maximum": 0.5, "blocking": True}]),
        step("join", depends_on=["read"]),
    )
    works.request()
    works.complete(outputs=MADE, numbers=GOOD)
    works.run_all(numbers=GOOD)
    return works


def found(works: ManualWorld) -> dict[RunId, Validity]:
    """Return what counts of what the step `read` has made of the scan, compared with the sums."""
    with works.cluster.ops_db.read() as session:
        start = find_start(session, "scan-0")
        products = [one for one in touched_products(session, start) if one.step == "read"]
        sums = next(one for one in impact_by_step(session, start) if one.step == "read")
        counted = {run for run in current_runs(session, "letters") if run in {one.run_id for one in products}}
    by_run = {one.run_id: one.validity for one in products}
    assert sums.products == len(products)
    summed = {one: getattr(sums, f"{one.value}_products") for one in Validity}
    assert Counter(one.validity for one in products) == Counter({one: count for one, count in summed.items() if count})
    assert counted == {run for run, one in by_run.items() if one is CURRENT}
    return by_run


def followed(works: ManualWorld) -> dict[RunId, RunId]:
    """Return of the runs of `read` by which one's product their text is superseded, as every export says it."""
    with works.cluster.ops_db.read() as session:
        record = read_record(session, find_scope(session, "pipeline:letters"))
    texts = {one.id: one for one in record.products.values() if one.path == "text.txt"}
    return {one.run_id: texts[one.superseded_by].run_id for one in texts.values() if one.superseded_by}


def test_a_newer_run_that_is_blocked_supersedes_nothing(works: ManualWorld) -> None:
    works.ask("read", force=True)
    (blocked,) = works.in_flight()
    works.complete(outputs=MADE, numbers={"rms": 0.7})
    assert found(works) == {FIRST: CURRENT, blocked: BLOCKED}
    assert followed(works) == {}
    works.ask("read", force=True)
    (newest,) = works.in_flight()
    works.complete(outputs=MADE, numbers=GOOD)
    assert found(works) == {FIRST: SUPERSEDED, blocked: BLOCKED, newest: CURRENT}
    assert followed(works) == {FIRST: newest, blocked: newest}


def test_what_is_tainted_does_not_count(works: ManualWorld) -> None:
    with works.cluster.ops_db.request() as session:
        taint(session, ["scan-0"], reason="hot load was off", by="ada", now=works.cluster.clock())
    assert found(works) == {FIRST: BLOCKED}


def test_purged_products_count_and_so_do_regenerated_ones(works: ManualWorld) -> None:
    assert works.purge() == 1
    assert found(works) == {FIRST: CURRENT}
    works.regenerate_and_complete(FIRST, outputs=MADE, numbers=GOOD)
    assert found(works) == {FIRST: CURRENT, RunId(3): EVIDENCE}
    assert followed(works) == {}


def test_replaced_products_are_gone_for_later_results(works: ManualWorld) -> None:
    works.purge()
    works.regenerate_and_complete(FIRST, outputs=OTHER, numbers=GOOD)
    assert found(works) == {FIRST: GONE, RunId(3): CURRENT}
    works.purge()
    works.regenerate_and_complete(RunId(3), outputs=MADE, numbers=GOOD)
    assert found(works) == {FIRST: GONE, RunId(3): GONE, RunId(4): CURRENT}
    assert followed(works) == {FIRST: 4, RunId(3): 4}


def test_what_is_lost_does_not_count(works: ManualWorld) -> None:
    works.purge()
    works.ask("join", force=True)
    works.fail()
    assert found(works) == {FIRST: GONE}


def test_products_regenerated_differently_for_an_older_run_are_no_newer_ones(works: ManualWorld) -> None:
    works.purge()
    works.ask("read", force=True)
    (newest,) = works.in_flight()
    works.complete(outputs=MADE, numbers=GOOD)
    works.regenerate_and_complete(FIRST, outputs=OTHER, numbers=GOOD)
    instead = RunId(newest + 1)
    assert found(works) == {FIRST: GONE, newest: CURRENT, instead: SUPERSEDED}
    assert followed(works) == {FIRST: instead}
