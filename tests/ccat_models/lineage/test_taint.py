"""Bad packages: everything made from them is marked, no longer counts, and is run again without them."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.errors import CcatError, InvalidDeclaration, NotFound, Refused
from ccat_models.lineage.closure import lineage_of
from ccat_models.lineage.taint import TouchedStep, lift, list_taints, taint, taints_of
from ccat_models.product.quality import waive
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

pytestmark = pytest.mark.slow


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give three scans, each read and joined alone, and one map of all."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(3):
        works.observatory.scan(number)
    works.declare(step("read", ["obs_mode"]), step("clean", depends_on=["read"]), step("map", [], depends_on=["clean"]))
    return works


def mark(works: ManualWorld, *names: str) -> list[TouchedStep]:
    with works.cluster.ops_db.request() as session:
        return list(taint(session, names, reason="hot load was off", by="ada", now=works.cluster.clock()))


def unmark(works: ManualWorld, *names: str) -> list[TouchedStep]:
    with works.cluster.ops_db.request() as session:
        return list(lift(session, names, by="ben", now=works.cluster.clock()))


def all_reasons(works: ManualWorld) -> dict[str, dict[str, str]]:
    return {name: works.reasons(name) for name in ("read", "clean", "map")}


def runs(works: ManualWorld) -> int:
    with works.cluster.ops_db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(Run)) or 0


def test_what_was_made_from_a_tainted_package_is_run_again_without_it(works: ManualWorld) -> None:
    works.run_all()
    assert runs(works) == 1 + 3 + 1
    assert mark(works, "scan-1") == [
        TouchedStep("letters", "read", 1, 1, 0),
        TouchedStep("letters", "clean", 3, 3, 0),
        TouchedStep("letters", "map", 1, 1, 0),
    ]
    (only,) = set(works.reasons("read").values())
    assert only == "inputs_withdrawn"
    assert set(works.reasons("map").values()) == {"waiting_for_upstream"}, "tainted products are no input"
    assert [gap.current_run_id for gap in works.gaps("read").values()] == [None]
    works.run_all()
    assert runs(works) == 5 + 1 + 2 + 1, "the scan that is tainted has no run of its own any more"
    assert set(works.reasons("map").values()) == {"up_to_date"}


def test_a_lifted_taint_restores_the_earlier_results(works: ManualWorld) -> None:
    works.run_all()
    before = all_reasons(works), runs(works)
    mark(works, "scan-1")
    assert [one.runs for one in unmark(works, "scan-1")] == [1, 3, 1]
    assert (all_reasons(works), runs(works)) == before
    assert not works.request()["map"].created
    mark(works, "scan-1")  # a second time is possible


def test_a_run_on_its_way_is_marked_and_its_products_are_no_result(works: ManualWorld) -> None:
    works.request()
    (run,) = works.in_flight()
    assert mark(works, "scan-0") == [TouchedStep("letters", "read", 1, 0, 1)]
    works.complete(run)
    assert set(works.reasons("clean").values()) == {"waiting_for_upstream", "inputs_withdrawn"}
    assert set(works.reasons("read").values()) == {"inputs_withdrawn"}
    works.run_all()
    with works.cluster.ops_db.read() as session:
        assert [row.reason for row in taints_of(session, [run])[run]] == ["hot load was off"]
        assert not taints_of(session, [RunId(run + 1)])[RunId(run + 1)]


def test_several_packages_mark_a_run_once_each(works: ManualWorld) -> None:
    works.run_all()
    assert [one.runs for one in mark(works, "scan-0", "scan-1")] == [1, 3, 1]
    with works.cluster.ops_db.read() as session:
        assert len(taints_of(session, [RunId(1)])[RunId(1)]) == 2
        assert [(row.package, row.tainted_by, row.lifted_by) for row in list_taints(session)] == [
            ("scan-0", "ada", None),
            ("scan-1", "ada", None),
        ]
    unmark(works, "scan-0")
    with works.cluster.ops_db.read() as session:
        assert [row.package for row in list_taints(session)] == ["scan-1"]
        assert [row.lifted_by for row in list_taints(session, with_lifted=True)] == ["ben", None]
    assert set(works.reasons("read").values()) == {"inputs_withdrawn"}


@pytest.mark.parametrize(
    ("names", "reason", "error", "text"),
    [
        (["scan-7", "scan-0"], "bad", NotFound, "no raw data package 'scan-7'; known: scan-2, scan-1, scan-0"),
        (["scan-0", "scan-2"], "bad", Refused, "package scan-2: tainted already by ada on .*: hot load was off"),
        (["scan-0"], " ", InvalidDeclaration, "reason: must say why"),
    ],
)
def test_what_cannot_be_tainted_changes_nothing(
    works: ManualWorld, names: list[str], reason: str, error: type[CcatError], text: str
) -> None:
    mark(works, "scan-2")
    with pytest.raises(error, match=text), works.cluster.ops_db.request() as session:
        taint(session, names, reason=reason, by="ada", now=works.cluster.clock())
    with pytest.raises(Refused, match="package scan-0: is not tainted"):
        unmark(works, "scan-0", "scan-2")
    with works.cluster.ops_db.read() as session:
        assert [row.package for row in list_taints(session)] == ["scan-2"]


def test_a_lineage_says_what_was_said_of_its_runs(works: ManualWorld) -> None:
    works.declare(
        step("read", ["obs_mode"], quality=[{"metric": "rms", "maximum": 0.5}]),
        step("clean", depends_on=["read"], quality=[{"metric": "rms", "maximum": 0.5, "blocking": True}]),
        step("map", [], depends_on=["clean"]),
    )
    works.run_all({"rms": 0.7})
    mark(works, "scan-1")
    with works.cluster.ops_db.request() as session:
        for run in (2, 3, 4):
            waive(session, RunId(run), "rms", by="ada", reason="fine", now=works.cluster.clock())
        found = lineage_of(session, RunId(2))
    assert {run.id: run.marks for run in found.runs.values()} == {
        1: ("tainted by scan-1", "rms failed"),
        2: ("tainted by scan-1", "rms waived by ada"),
    }
