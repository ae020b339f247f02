"""Steps that read other steps' products: per scan, per source, everything at once."""

import pytest

from ccat_models.gap.reasons import Reason
from resources.request.ensure import RequestOptions, ensure_pipeline
from tests.support.worlds.manual import ManualWorld, step

pytestmark = pytest.mark.slow

READ = step("read")


def joined(when: str) -> dict[str, object]:
    return step("join", ["source"], depends_on=["read"], when=when)


def with_scans(works: ManualWorld, *numbers: int) -> None:
    for number in numbers:
        works.observatory.scan(number)


def test_all_waits_for_every_scan(works: ManualWorld) -> None:
    with_scans(works, 0, 2, 1)
    works.declare(READ, joined("all"))
    works.request()
    assert works.reasons("join") == {"source-1": "waiting_for_upstream", "source-2": "waiting_for_upstream"}
    works.complete(works.run_of("read", "scan-0"), works.run_of("read", "scan-2"))
    assert works.reasons("join") == {"source-1": "missing", "source-2": "waiting_for_upstream"}


def test_all_holds_back_what_an_exhausted_scan_lacks_and_keeps_what_was_made_before(works: ManualWorld) -> None:
    with_scans(works, 0, 2)
    works.declare(READ, joined("all"))
    works.run_all()
    works.observatory.scan(2, "corrected")
    works.request()
    assert works.reasons("join") == {"source-1": "up_to_date"}, "its inputs have not changed yet"
    works.fail()
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-2": "retries_exhausted"}
    assert works.reasons("join") == {"source-1": "up_to_date"}


def test_any_takes_what_is_complete_and_the_patient_wait_for_what_is_coming(works: ManualWorld) -> None:
    with_scans(works, 0, 2, 4)
    works.declare(READ, joined("any"))
    works.request()
    assert works.reasons("join") == {"source-1": "waiting_for_upstream"}, "there is nothing at all"
    works.complete(works.run_of("read", "scan-0"))
    assert works.reasons("join") == {"source-1": "missing"}
    assert works.reasons("join", patient=True) == {"source-1": "waiting_for_upstream"}
    works.complete(works.run_of("read", "scan-2"))
    works.fail(works.run_of("read", "scan-4"))
    assert works.reasons("join", patient=True) == {"source-1": "missing"}, "the third will not come"
    works.request()
    works.complete()
    assert works.reasons("join") == {"source-1": "up_to_date"}
    assert works.ask("read", "scan-4", retry=True).created
    works.complete()
    assert works.reasons("join") == {"source-1": "new_inputs"}


def test_the_patient_wait_for_what_a_limit_holds_back(works: ManualWorld) -> None:
    with_scans(works, 0, 2)
    works.declare(step("read", max_in_flight=1), joined("any"))
    works.request(patient=True)
    works.complete()
    assert works.reasons("join", patient=True) == {"source-1": "waiting_for_upstream"}
    works.run_all(patient=True)
    assert works.reasons("join", patient=True) == {"source-1": "up_to_date"}


def test_an_upstream_of_finer_granularity_that_changes_reopens_its_group_alone(works: ManualWorld) -> None:
    with_scans(works, 0, 2, 1)
    works.declare(READ, joined("all"))
    works.run_all()
    works.ask("read", "scan-1", force=True)
    works.complete()
    assert works.reasons("join") == {"source-1": "up_to_date", "source-2": "new_inputs"}


@pytest.mark.parametrize("group_by", [["source"], []])
def test_an_upstream_of_coarser_granularity_feeds_all_scans_below_it(works: ManualWorld, group_by: list[str]) -> None:
    with_scans(works, 0, 2, 1)
    works.declare(step("model", group_by), step("apply", depends_on=["model"]))
    assert set(works.reasons("apply").values()) == {"waiting_for_upstream"}
    works.request()
    works.complete(works.run_of("model", "source-1" if group_by else "all"))
    others = "missing" if group_by == [] else "waiting_for_upstream"
    assert works.reasons("apply") == {"scan-0": "missing", "scan-2": "missing", "scan-1": others}
    works.run_all()
    works.observatory.scan(4)
    works.request()
    works.complete()
    again = "up_to_date" if group_by else "new_inputs"
    expected = {"scan-0": "new_inputs", "scan-2": "new_inputs", "scan-1": again, "scan-4": "missing"}
    assert works.reasons("apply") == expected


def test_everything_at_once(works: ManualWorld) -> None:
    with_scans(works, 0, 1)
    works.declare(READ, step("map", [], depends_on=["read"]))
    works.run_all()
    assert works.reasons("map") == {"all": "up_to_date"}
    works.observatory.withdraw(1)
    assert works.reasons("map") == {"all": "inputs_withdrawn"}
    works.observatory.withdraw(0)
    gap = works.gaps("map")["all"]
    assert (gap.reason, gap.alive) == (Reason.INPUTS_WITHDRAWN, False)


@pytest.mark.parametrize("when", ["any", "all"])
def test_two_upstreams_are_both_needed(works: ManualWorld, when: str) -> None:
    with_scans(works, 0)
    first, second = step("first"), step("second", ["source"])
    works.declare(first, second, step("both", depends_on=["first", "second"], when=when))
    works.ask("first")
    works.complete()
    assert works.reasons("both") == {"scan-0": "waiting_for_upstream"}
    works.ask("second")
    works.complete()
    assert works.reasons("both") == {"scan-0": "missing"}
    works.run_all()
    assert works.reasons("both") == {"scan-0": "up_to_date"}
    works.ask("second", force=True)
    works.complete()
    assert works.reasons("both") == {"scan-0": "new_inputs"}


def test_an_upstream_without_products_is_complete_all_the_same(works: ManualWorld) -> None:
    with_scans(works, 0)
    works.declare(READ, step("clean", depends_on=["read"]))
    works.request()
    works.complete(outputs={"plots/only.png": "for people"})
    assert works.reasons("clean") == {"scan-0": "missing"}
    assert works.gaps("clean")["scan-0"].fingerprint.count == 0
    works.run_all()
    assert works.reasons("clean") == {"scan-0": "up_to_date"}


def test_a_new_configuration_runs_down_the_pipeline(works: ManualWorld) -> None:
    with_scans(works, 0)
    clean = step("clean", depends_on=["read"])
    works.declare(READ, clean)
    works.run_all()
    works.declare(step("read", parameters={"cell": 7}), clean)
    assert (works.reasons("read"), works.reasons("clean")) == ({"scan-0": "config_changed"}, {"scan-0": "up_to_date"})
    first, second = works.request(), works.in_flight()
    assert (len(first["read"].created), first["clean"].created) == (1, {})
    works.complete(*second)
    assert works.reasons("clean") == {"scan-0": "new_inputs"}


def test_a_pipeline_that_is_up_to_date_asks_for_nothing(works: ManualWorld) -> None:
    with_scans(works, 0, 1, 2)
    works.declare(READ, joined("all"), step("map", [], depends_on=["join", "read"]))
    works.run_all()
    answers = ensure_pipeline(works.cluster, "letters", RequestOptions("test"))
    assert [len(answer.up_to_date) for answer in answers.values()] == [3, 2, 1]
    assert all(count.now == count.afterwards == 0 for count in answers["map"].counts.values())
