"""One Dagster run over several steps with the same sub-groups, on each database."""

import dagster as dg
import pytest

from resources.request.ensure import RequestOptions, ensure
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(4)]
BOTH = ("read", "clean")
WAITS = "not run: waiting_for_upstream: upstream products do not exist yet"


def open_four(lab: DagsterWorld) -> None:
    """Open a world of four scans, the second of which is broken."""
    lab.declare("a", "exit 65", "c", "d")
    lab.refresh()


def skipped(lab: DagsterWorld, run_id: str) -> list[str]:
    events = lab.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SKIPPED)
    return [entry.message for entry in events]


@pytest.mark.parametrize("by", ["range", "keys"])
def test_a_failed_sub_group_holds_up_only_what_reads_it(lab_on_each: DagsterWorld, by: str) -> None:
    lab = lab_on_each
    open_four(lab)
    result = lab.materialize(*BOTH, between=(KEYS[0], KEYS[3])) if by == "range" else lab.materialize(*BOTH, keys=KEYS)
    words = lab.failure(result)
    assert "2 of 8 sub-groups have no products" in words
    assert f"read {KEYS[1]}: run " in words
    assert f"clean {KEYS[1]}: {WAITS}" in words
    for step in BOTH:
        assert lab.statuses(step) == dict.fromkeys(KEYS, "MATERIALIZED") | {KEYS[1]: "FAILED"}
        assert lab.shown(step) == dict.fromkeys((KEYS[0], KEYS[2], KEYS[3]), 1)
    assert set(lab.called().values()) == {1}
    assert len(lab.called()) == 4 + 3
    assert skipped(lab, result.run_id) == []
    assert lab.unpublished() == 0
    run = lab.instance.get_run_by_id(result.run_id)
    assert run is not None
    tags = {name: value for name, value in run.tags.items() if name.startswith("ccat/")}
    assert tags.pop("ccat/holder")
    assert tags == {"ccat/steps": "letters/read, letters/clean", "ccat/sub_groups": "4", "ccat/made": "6 of 8"}
    lines = [entry.user_message for entry in lab.instance.all_logs(result.run_id) if not entry.is_dagster_event]
    assert any("runs have ended" in line for line in lines)


def test_a_repeated_run_makes_only_what_is_left(lab: DagsterWorld) -> None:
    open_four(lab)
    lab.materialize(*BOTH, keys=KEYS)
    lab.observatory.scan(1, "corrected")
    assert lab.materialize(*BOTH, keys=KEYS).success
    executed = lab.called()
    assert executed[f"read {KEYS[1]} 1"] == 2
    assert executed[f"clean {KEYS[1]} 1"] == 1
    assert len(executed) == sum(executed.values()) - 1 == 8
    assert lab.statuses("clean") == dict.fromkeys(KEYS, "MATERIALIZED")


def test_forced_steps_run_once_each_and_the_second_reads_what_the_first_has_made_anew(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.refresh()
    assert lab.materialize(*BOTH, keys=KEYS[:1]).success
    assert lab.materialize(*BOTH, keys=KEYS[:1], force=True).success
    assert lab.called() == {f"{step} {KEYS[0]} 1": 2 for step in BOTH}
    newest = {step: int((lab.materializations(step)[-1].tags or {})["ccat/run_id"]) for step in BOTH}
    assert newest["clean"] > newest["read"]
    assert lab.materialize(*BOTH, keys=KEYS[:1]).success
    assert lab.called() == {f"{step} {KEYS[0]} 1": 2 for step in BOTH}


def test_one_step_of_several_is_selected(lab: DagsterWorld) -> None:
    open_four(lab)
    assert lab.materialize("read", keys=[KEYS[0]]).success
    assert lab.materialize("clean", keys=[KEYS[0]]).success
    assert lab.called() == {f"{step} {KEYS[0]} 1": 1 for step in BOTH}
    assert (lab.shown("read"), lab.shown("clean")) == ({KEYS[0]: 1}, {KEYS[0]: 1})


def test_a_step_waits_for_what_another_requester_has_in_flight(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    open_four(lab)
    asked = ensure(lab.application.cluster, "letters", "read", KEYS[:2], RequestOptions("bob"))
    assert len(asked.created) == 2
    words = lab.failure(lab.materialize("clean", keys=KEYS[:3]))
    assert lab.shown("clean") == {KEYS[0]: 1}
    assert f"{KEYS[1]}: {WAITS}" in words  # its run failed
    assert f"{KEYS[2]}: {WAITS}" in words  # nobody has requested it
    assert set(lab.called()) == {f"read {KEYS[0]} 1", f"read {KEYS[1]} 1", f"clean {KEYS[0]} 1"}


def test_what_failed_and_what_waits_for_it_say_why_in_dagit(lab: DagsterWorld) -> None:
    open_four(lab)
    lab.materialize(*BOTH, keys=KEYS)
    (failed,) = lab.observations("read")
    assert failed.partition == KEYS[1]
    assert failed.description == "run 2 failed: permanent: exit code 65 (bad data): leaving with 65"
    assert {"class", "message", "meaning", "remedy", "job_id", "host", "directory", "log", "run_id"} <= set(
        failed.metadata
    )
    assert failed.metadata["exit_code"].value == 65
    assert "leaving with 65" in str(failed.metadata["log"].value)
    assert "Correct the data" in str(failed.metadata["remedy"].value)
    (waiting,) = lab.observations("clean")
    assert (waiting.partition, waiting.description) == (KEYS[1], WAITS)
