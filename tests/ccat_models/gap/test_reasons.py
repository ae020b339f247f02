"""Each reason on real rows; `works.reasons` gives one per sub-group, its primary key allows no second."""

from pathlib import Path

import pytest

from ccat_models.gap.reasons import MEANING, Reason
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.raw_data import PackageState
from tests.support.worlds.manual import ManualWorld, release, step

READ = step("read")


def scans(works: ManualWorld, *numbers: int) -> None:
    for number in numbers:
        works.observatory.scan(number)


def test_every_reason_is_explained() -> None:
    assert set(MEANING) == set(Reason)


def test_from_missing_over_in_flight_to_up_to_date(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.observatory.scan(2, state=PackageState.TRANSFERRING)
    works.declare(READ)
    assert works.reasons("read") == {"scan-0": "missing", "scan-1": "missing"}
    works.ask("read", "scan-0")
    assert works.reasons("read") == {"scan-0": "in_flight", "scan-1": "missing"}
    works.complete()
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-1": "missing"}


@pytest.mark.parametrize(
    ("came", "changed", "went", "reason"),
    [
        (True, False, False, "new_inputs"),
        (False, True, False, "new_inputs"),
        (False, False, True, "inputs_withdrawn"),
        (True, False, True, "new_inputs"),
        (False, True, True, "new_inputs"),
    ],
)
def test_inputs_that_come_change_or_go(works: ManualWorld, came: bool, changed: bool, went: bool, reason: str) -> None:
    scans(works, 0, 2, 4, 1)
    works.declare(step("read", ["source"]))
    works.run_all()
    if came:
        works.observatory.scan(6)
    if changed:
        works.observatory.scan(2, "corrected")
    if went:
        works.observatory.withdraw(4)
    assert works.reasons("read") == {"source-1": reason, "source-2": "up_to_date"}
    works.run_all()
    assert works.reasons("read") == {"source-1": "up_to_date", "source-2": "up_to_date"}


def test_a_package_that_goes_and_comes_back_unchanged_is_up_to_date_again(works: ManualWorld) -> None:
    scans(works, 0, 2)
    works.declare(step("read", ["source"]))
    works.run_all()
    works.observatory.withdraw(2)
    assert works.reasons("read") == {"source-1": "inputs_withdrawn"}
    works.run_all()
    scans(works, 2)
    gap = works.gaps("read")["source-1"]
    assert (gap.reason, gap.acceptable_run_id) == (Reason.UP_TO_DATE, 1)


def test_a_sub_group_without_packages_is_no_gap(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ, step("join", ["source"], depends_on=["read"]))
    works.run_all()
    works.observatory.withdraw(1)
    for name, key in (("read", "scan-1"), ("join", "source-2")):
        gap = works.gaps(name)[key]
        assert (gap.reason, gap.alive, gap.actionable) == (Reason.INPUTS_WITHDRAWN, False, False)
    assert all(not answer.created for answer in works.request().values())
    assert works.ask("read", "scan-1", force=True).created == {}
    scans(works, 1)
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-1": "forced"}, (
        "the request to force is kept for its return"
    )


def test_a_run_in_flight_is_joined_even_when_its_packages_were_withdrawn(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ)
    works.request()
    works.observatory.withdraw(0)
    assert works.reasons("read") == {"scan-0": "in_flight"}
    assert works.ask("read", "scan-0").joined == {"executed_obs_unit=scan-0": 1}
    works.complete()
    assert works.reasons("read") == {"scan-0": "inputs_withdrawn"}


def test_a_run_in_flight_that_missed_a_package_is_followed_by_another(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(step("read", ["source"]))
    works.request()
    scans(works, 2)
    assert works.reasons("read") == {"source-1": "in_flight"}
    works.complete()
    assert works.reasons("read") == {"source-1": "new_inputs"}


def test_other_parameters(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(step("read", parameters={"cell": 6}))
    works.run_all()
    works.declare(step("read", parameters={"cell": 7}))
    assert works.reasons("read") == {"scan-0": "config_changed"}
    works.declare(step("read", parameters={"cell": 6}))
    assert works.reasons("read") == {"scan-0": "up_to_date"}
    works.declare(step("read", parameters={"cell": 7}))
    scans(works, 2)
    works.run_all()
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-2": "up_to_date"}


def test_new_inputs_come_before_new_parameters(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(step("read", ["source"], parameters={"cell": 6}))
    works.run_all()
    works.declare(step("read", ["source"], parameters={"cell": 7}))
    scans(works, 2)
    assert works.reasons("read") == {"source-1": "new_inputs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "pinned", "releases", "reason"),
    [
        ("pinned", "1.0.0", [release("1.1.0", reprocess_from="1.1.0")], "up_to_date"),
        ("pinned", "1.1.0", [release("1.1.0", cosmetic=True)], "software_changed"),
        ("compatible", "1.0.0", [release("1.9.0")], "up_to_date"),
        ("compatible", "1.0.0", [release("1.1.0", reprocess_from="1.0.1")], "software_changed"),
        ("compatible", "1.0.0", [release("1.1.0", reprocess_from="1.0.0")], "up_to_date"),
        ("compatible", "1.0.0", [release("2.0.0", reprocess_from="2.0.0")], "up_to_date"),
        ("compatible", "2.0.0", [release("2.0.0")], "software_changed"),
        ("latest", "1.0.0", [release("1.0.1")], "software_changed"),
        ("latest", "1.0.0", [release("1.0.1", cosmetic=True)], "up_to_date"),
        ("latest", "1.0.0", [release("1.0.1", cosmetic=True), release("1.0.2")], "software_changed"),
        ("latest", "1.0.0", [release("1.0.1", cosmetic=True, reprocess_from="1.0.1")], "software_changed"),
        ("latest", "1.0.0", [release("1.0.1", released=False)], "up_to_date"),
        ("latest", "1.0.0", [release("1.0.1", withdrawn=True)], "up_to_date"),
    ],
)
def test_releases(works: ManualWorld, policy: str, pinned: str, releases: list[dict[str, object]], reason: str) -> None:
    scans(works, 0)
    works.declare(step("read", version_policy=policy))
    works.run_all()
    works.releases += releases
    works.declare(step("read", version_policy=policy, version=pinned))
    assert works.reasons("read") == {"scan-0": reason}
    works.run_all()
    assert works.reasons("read") == {"scan-0": "up_to_date"}, "the version that is run must be acceptable"


def test_cooldown_ends_at_its_second_or_when_it_is_ignored(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(step("read", ["source"], cooldown_seconds=60))
    works.run_all()
    scans(works, 2)
    works.observatory.clock.pass_seconds(59.999)
    assert works.reasons("read") == {"source-1": "cooling_down"}
    assert works.reasons("read", ignore_cooldown=True) == {"source-1": "new_inputs"}
    assert works.ask("read").held == {"source=source-1": Reason.COOLING_DOWN}
    works.observatory.clock.pass_seconds(0.001)
    assert works.reasons("read") == {"source-1": "new_inputs"}


def test_forced_until_a_run_was_made_for_it(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ)
    works.run_all()
    assert list(works.ask("read", "scan-1", force=True).created) == ["executed_obs_unit=scan-1"]
    with works.cluster.ops_db.read() as session:
        assert session.get_one(Run, works.run_of("read", "scan-1")).reason == "forced"
    works.fail()
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-1": "up_to_date"}, "its old products stay good"


def test_forced_while_cooling_down_waits(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(step("read", cooldown_seconds=60))
    works.run_all()
    assert works.ask("read", force=True).held == {"executed_obs_unit=scan-0": Reason.COOLING_DOWN}
    works.observatory.clock.pass_seconds(60)
    assert works.reasons("read") == {"scan-0": "forced"}


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_a_spent_budget_is_renewed_by_asking_or_by_other_inputs(works: ManualWorld, how: str) -> None:
    scans(works, 0, 1)
    works.declare(step("read", ["source"]))
    works.request()
    getattr(works, how)()
    assert works.reasons("read") == {"source-1": "retries_exhausted", "source-2": "retries_exhausted"}
    assert works.ask("read", "source-1").created == {}
    assert list(works.ask("read", "source-1", retry=True).created) == ["source=source-1"]
    getattr(works, how)()
    assert works.reasons("read")["source-1"] == "retries_exhausted", "asking renews it once"
    scans(works, 3)
    assert works.reasons("read") == {"source-1": "retries_exhausted", "source-2": "missing"}


def test_a_spent_budget_is_renewed_by_another_version_or_configuration(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ)
    works.request()
    works.fail()
    works.declare(step("read", parameters={"cell": 7}))
    assert works.reasons("read") == {"scan-0": "missing"}
    works.declare(READ)
    works.releases.append(release("1.0.1"))
    works.declare(READ)
    assert works.reasons("read") == {"scan-0": "missing"}


def failures_in_a_row(works: ManualWorld, count: int, failure: FailureClass = FailureClass.SCIENCE) -> None:
    for number in range(count):
        works.ask("read", f"scan-{number}")
        works.fail(failure=failure)


def test_the_circuit_opens_after_failures_across_sub_groups_and_is_reset(works: ManualWorld) -> None:
    scans(works, *range(4))
    view = works.declare(step("read", circuit_threshold=3))
    failures_in_a_row(works, 2)
    assert works.reasons("read")["scan-3"] == "missing"
    works.ask("read", "scan-2")
    works.fail(failure=FailureClass.PERMANENT)
    assert works.reasons("read") == dict.fromkeys((f"scan-{n}" for n in range(4)), "circuit_open")
    works.reset_circuit(view, "read")
    spent = dict.fromkeys((f"scan-{n}" for n in range(3)), "retries_exhausted")
    assert works.reasons("read") == spent | {"scan-3": "missing"}


def test_the_circuit_counts_from_the_last_good_run(works: ManualWorld) -> None:
    scans(works, *range(6))
    works.declare(step("read", circuit_threshold=2))
    failures_in_a_row(works, 1)
    works.ask("read", "scan-4")
    works.complete()
    works.ask("read", "scan-1")
    works.fail()
    assert works.reasons("read")["scan-5"] == "missing"
    works.ask("read", "scan-2")
    works.ask("read", "scan-3")
    works.fail(works.run_of("read", "scan-2"))
    assert works.reasons("read")["scan-5"] == "circuit_open"
    works.complete(works.run_of("read", "scan-3"))
    assert works.reasons("read")["scan-5"] == "missing", "a good run that was on its way closes it"


def test_the_circuit_ignores_what_is_not_the_programs_fault(works: ManualWorld) -> None:
    scans(works, *range(4))
    works.declare(step("read", circuit_threshold=1))
    for number, failure in enumerate((FailureClass.LOST, FailureClass.TIMEOUT, FailureClass.INFRASTRUCTURE)):
        works.ask("read", f"scan-{number}")
        works.fail(failure=failure)
    assert works.reasons("read")["scan-3"] == "missing"


def test_disabled_says_so_of_gaps_only(works: ManualWorld) -> None:
    scans(works, 0, 1, 2)
    works.declare(READ)
    works.ask("read", "scan-0")
    works.complete()
    works.ask("read", "scan-1")
    works.set_enabled(enabled=False)
    assert works.reasons("read") == {"scan-0": "up_to_date", "scan-1": "in_flight", "scan-2": "disabled"}
    works.set_enabled(enabled=True)
    assert works.reasons("read")["scan-2"] == "missing"


def test_max_in_flight_leaves_the_others_gaps(works: ManualWorld) -> None:
    scans(works, *range(5))
    works.declare(step("read", max_in_flight=2))
    first = works.request()["read"]
    assert len(first.created) == 2
    assert set(first.held.values()) == {Reason.MISSING}
    assert works.request()["read"].created == {}
    works.complete(works.in_flight()[0])
    assert len(works.request()["read"].created) == 1
    assert len(works.in_flight()) == 2
    works.run_all()
    assert set(works.reasons("read").values()) == {"up_to_date"}
    assert not list(Path(works.cluster.base).glob("*")), "nothing was executed"
