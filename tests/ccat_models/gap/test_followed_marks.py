"""Waivers, taints and their lifting are followed by a look as an evaluation of everything would find them."""

import pytest

from ccat_models.lineage.taint import lift, taint
from ccat_models.product.quality import waive
from ccat_models.tables.base import RunId
from tests.ccat_models.gap.test_properties import check_look
from tests.support.worlds.manual import ManualWorld, step

LIMIT = {"metric": "rms", "maximum": 0.5, "blocking": True}


@pytest.fixture
def bench(works: ManualWorld) -> ManualWorld:
    for number in range(2):
        works.observatory.scan(number)
    works.declare(
        step("read", ["obs_mode"], quality=[LIMIT]),
        step("join", [], depends_on=["read"]),
    )
    return works


def test_a_waiver_is_followed(bench: ManualWorld) -> None:
    bench.request()
    bench.complete(numbers={"rms": 0.7})
    check_look(bench, many=100)
    with bench.cluster.ops_db.request() as session:
        waive(session, RunId(1), "rms", by="ada", reason="fine", now=bench.cluster.clock())
    check_look(bench, many=100)
    assert set(bench.reasons("read").values()) == {"up_to_date"}


def test_a_taint_of_what_is_no_member_any_more_is_followed_and_its_lifting_too(bench: ManualWorld) -> None:
    bench.run_all({"rms": 0.1})
    bench.observatory.withdraw(1)
    bench.ask("read")
    bench.complete(numbers={"rms": 0.1})
    check_look(bench, many=100)
    assert bench.gaps("join")["all"].current_run_id == 2
    with bench.cluster.ops_db.request() as session:
        taint(session, ["scan-1"], reason="bad", by="ada", now=bench.cluster.clock())
    check_look(bench, many=100)
    assert bench.gaps("join")["all"].current_run_id is None
    with bench.cluster.ops_db.request() as session:
        lift(session, ["scan-1"], by="ada", now=bench.cluster.clock())
    check_look(bench, many=100)
    assert bench.gaps("join")["all"].current_run_id == 2
