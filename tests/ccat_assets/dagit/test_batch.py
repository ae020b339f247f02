import dagster as dg
import pytest

from ccat_models.tables.execution import ExecutedReductionStep as Run
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

GOOD, BAD = ("a", "b", "c", "d", "e", "f", "g"), ("exit 65 1", "exit 65 2", "exit 65 3")
KEYS = [f"executed_obs_unit=scan-{number}" for number in range(10)]
FAILED = set(KEYS[7:])


def open_ten(lab: DagsterWorld) -> None:
    lab.declare(*GOOD, *BAD)
    lab.refresh()


def test_a_range_shows_what_completed_and_names_what_failed(lab: DagsterWorld) -> None:
    open_ten(lab)
    result = lab.materialize("read", between=(KEYS[0], KEYS[9]))
    assert not result.success
    assert lab.shown("read") == dict.fromkeys(KEYS[:7], 1)
    assert lab.statuses("read") == {key: "FAILED" if key in FAILED else "MATERIALIZED" for key in KEYS}
    said = lab.failure(result)
    assert "3 of 10 sub-groups have no products" in said
    for key in FAILED:
        assert f"{key}: run " in said
        assert "permanent: exit code 65 (bad data)" in said
    assert lab.unpublished() == 0
    assert lab.called() == {f"read {key} 1": 1 for key in KEYS}


def test_any_list_of_sub_groups_is_shown_as_planned_and_ends_with_the_truth(lab: DagsterWorld) -> None:
    open_ten(lab)
    wanted = [KEYS[9], KEYS[0], KEYS[4], KEYS[7]]
    result = lab.materialize("read", keys=wanted)
    assert not result.success
    assert lab.shown("read") == {KEYS[0]: 1, KEYS[4]: 1}
    planned = lab.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    events = [entry.dagster_event for entry in planned if entry.dagster_event is not None]
    assert {event.partition for event in events} == set(wanted)
    shown = lab.statuses("read")
    assert {key for key, status in shown.items() if status == "FAILED"} == {KEYS[7], KEYS[9]}
    assert {key for key, status in shown.items() if status is None} == set(KEYS) - set(wanted)


def test_a_later_run_clears_a_failure(lab: DagsterWorld) -> None:
    open_ten(lab)
    lab.materialize("read", keys=[KEYS[0], KEYS[7]])
    lab.observatory.scan(7, "mended")
    assert lab.materialize("read", keys=[KEYS[7]]).success
    assert lab.statuses("read")[KEYS[7]] == "MATERIALIZED"


def test_a_repeated_batch_publishes_the_same_and_runs_nothing(lab: DagsterWorld) -> None:
    open_ten(lab)
    assert lab.materialize("read", keys=[KEYS[0]]).success
    assert lab.materialize("read", keys=[KEYS[0]]).success
    first, second = lab.materializations("read")
    assert (first.tags, lab.called()[f"read {KEYS[0]} 1"]) == (second.tags, 1)
    assert lab.materialize("read", keys=[KEYS[0]], force=True).success
    third = lab.materializations("read")[2]
    assert lab.called()[f"read {KEYS[0]} 1"] == 2
    assert (third.tags or {})["dagster/data_version"] == (first.tags or {})["dagster/data_version"]
    assert (third.tags or {})["ccat/run_id"] != (first.tags or {})["ccat/run_id"]


def test_a_forced_run_that_dagster_repeats_is_not_forced_again(lab: DagsterWorld) -> None:
    open_ten(lab)
    first = lab.materialize("read", keys=[KEYS[0]], force=True)
    again = {"dagster/retry_number": "1", "dagster/root_run_id": first.run_id, "dagster/parent_run_id": first.run_id}
    assert lab.materialize("read", keys=[KEYS[0]], force=True, tags=again).success
    assert lab.called()[f"read {KEYS[0]} 1"] == 1


def test_spent_retries_are_renewed_unless_that_is_not_wanted(lab: DagsterWorld) -> None:
    open_ten(lab)
    lab.materialize("read", keys=[KEYS[7]])
    said = lab.failure(lab.materialize("read", keys=[KEYS[7]], retry=False))
    assert "not run: retries_exhausted" in said
    assert lab.called()[f"read {KEYS[7]} 1"] == 1
    lab.materialize("read", keys=[KEYS[7]])
    assert lab.called()[f"read {KEYS[7]} 1"] == 2


def test_a_person_does_not_wait_for_the_cooldown_and_a_sensor_may(lab: DagsterWorld) -> None:
    lab.declare("a", cooldown="86400")
    lab.refresh()
    assert lab.materialize("read", keys=[KEYS[0]]).success
    lab.observatory.scan(0, "more")
    assert "not run: cooling_down" in lab.failure(lab.materialize("read", keys=[KEYS[0]], ignore_cooldown=False))
    assert lab.materialize("read", keys=[KEYS[0]]).success
    assert lab.called()[f"read {KEYS[0]} 1"] == 2


def test_a_step_that_waits_says_so(lab: DagsterWorld) -> None:
    open_ten(lab)
    assert "not run: waiting_for_upstream" in lab.failure(lab.materialize("clean", keys=[KEYS[0]]))
    assert lab.shown("clean") == {}


def test_a_reversed_range_is_no_success(lab: DagsterWorld) -> None:
    open_ten(lab)
    said = lab.failure(lab.materialize("read", between=(KEYS[5], KEYS[2])))
    assert "is the range reversed?" in said
    assert KEYS[5] in said
    assert lab.materializations("read") == []
    assert not lab.calls.exists()


def test_an_unknown_key_changes_nothing(lab: DagsterWorld) -> None:
    open_ten(lab)
    said = lab.failure(lab.materialize("read", keys=[KEYS[0], "executed_obs_unit=nothing"]))
    assert "no sub-group of step read 'executed_obs_unit=nothing'" in said
    assert not lab.calls.exists()
    with lab.application.ops_db.read() as session:
        assert session.query(Run).count() == 0
