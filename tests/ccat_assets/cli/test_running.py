import pytest

from tests.support.hands.cli import Terminal

pytestmark = pytest.mark.slow

ALL = [
    *(f"clean executed_obs_unit=scan-{n} 1" for n in (0, 1)),
    *(f"join source=source-{n} 1" for n in (1, 2)),
    *(f"read executed_obs_unit=scan-{n} 1" for n in (0, 1)),
]


def test_plan_says_what_would_be_run_and_runs_nothing(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b"))
    terminal.declare()
    said = terminal.json("plan", "letters", "--sub-groups")
    counted = {name: (step["reasons"], step["now"], step["afterwards"]) for name, step in said["steps"].items()}
    assert counted == {
        "read": ({"missing": 2}, 2, 0),
        "clean": ({"waiting_for_upstream": 2}, 0, 2),
        "join": ({"waiting_for_upstream": 2}, 0, 2),
    }
    listed = [(row["key"], row["reason"]) for row in said["sub_groups"]["read"]]
    assert listed == [("executed_obs_unit=scan-0", "missing"), ("executed_obs_unit=scan-1", "missing")]
    assert "2 waiting_for_upstream" in terminal.ok("plan", "letters").out
    assert terminal.json("runs") == []
    assert terminal.called() == []


def test_run_stays_until_all_is_done_and_a_second_call_runs_nothing_and_says_why(terminal: Terminal) -> None:
    first = terminal.work("a", "b")
    assert first.code == 0
    assert "letters: 6 runs created, 6 completed, 0 failed" in first.out
    assert terminal.called() == ALL
    again = terminal.ok("run", "letters", "--no-publish")
    assert "letters: 0 runs created, 0 completed, 0 failed" in again.out
    assert "join: 2 up_to_date (a completed run has exactly the current inputs" in again.out
    assert terminal.called() == ALL
    assert terminal.json("run", "letters", "--no-publish")["now"] == {
        step: {"up_to_date": 2} for step in ("read", "clean", "join")
    }


def test_run_of_one_step_and_of_one_sub_group(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    terminal.declare()
    one = ("--step", "read", "--sub-group", "executed_obs_unit=scan-1", "--no-publish")
    assert terminal.json("run", "letters", *one)["created"] == {"read": 1}
    assert terminal.called() == ["read executed_obs_unit=scan-1 1"]
    assert terminal.json("run", "letters", *one)["created"] == {"read": 0}
    assert terminal.json("run", "letters", *one, "--force")["created"] == {"read": 1}
    assert terminal.called() == ["read executed_obs_unit=scan-1 1"] * 2
    assert terminal.json("run", "letters", "--step", "read", "--no-publish")["created"] == {"read": 2}
    assert [run["reason"] for run in terminal.json("runs")] == ["missing", "missing", "forced", "missing"]


def test_a_failure_is_reported_with_its_reason_and_exit_code_1_and_can_be_retried(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "exit 65"))
    terminal.declare()
    said = terminal.ccat("run", "letters", "--step", "read", "--no-publish")
    assert said.code == 1
    assert "letters: 2 runs created, 1 completed, 1 failed" in said.out
    assert "read executed_obs_unit=scan-1: permanent: exit code 65 (bad data)" in said.out
    good, failed = sorted(run["id"] for run in terminal.json("runs"))
    assert terminal.refused("retry", good) == f"only FAILED or CANCELLED runs can be retried, not {good} (COMPLETED)"
    assert f"runs {good} are over already: nothing to cancel" in terminal.refused("cancel", good)
    terminal.ok("retry", failed)
    again = terminal.ccat("run", "letters", "--step", "read", "--no-publish", "--json")
    assert (again.code, again.json["created"]) == (1, {"read": 1})
    assert [row["failure_message"] for row in again.json["failed"]] == ["exit code 65 (bad data): leaving with 65"]
    assert terminal.called() == [f"read executed_obs_unit=scan-{n} 1" for n in (0, 1, 1)]


def test_detached_runs_are_joined_by_the_next_run(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b"))
    terminal.declare()
    created = terminal.json("run", "letters", "--detach")["created"]
    assert {name: len(runs) for name, runs in created.items()} == {"read": 2, "clean": 0, "join": 0}
    said = terminal.json("run", "letters", "--no-publish")
    assert said["created"] == {"read": 0, "clean": 2, "join": 2}
    assert said["completed"] == 6
    assert terminal.called() == ALL


def test_cancel_ends_a_job_and_retry_lets_it_be_tried_again(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    terminal.declare(seconds="30")
    (run,) = terminal.json("run", "letters", "--detach")["created"]["read"]
    terminal.ok("cancel", run)
    # exit code 1 where the job was still being ended and so the run was joined
    said = terminal.ccat("run", "letters", "--no-publish", "--json").json
    assert said["now"]["read"] == {"retries_exhausted": 1}
    assert terminal.json("runs")[0]["status"] == "CANCELLED"
    assert f"runs {run} are over already" in terminal.refused("cancel", run)
    assert "1 sub-groups may be tried again: ccat run letters" in terminal.ok("retry", run).out
    assert terminal.json("plan", "letters")["steps"]["read"]["reasons"] == {"missing": 1}


@pytest.mark.parametrize("option", [("--force",), ("--sub-group", "all")])
def test_run_requires_the_step_of_the_named_sub_groups(terminal: Terminal, option: tuple[str, ...]) -> None:
    assert "need --step" in terminal.refused("run", "letters", *option)
