import pytest

from tests.support.cli import Terminal

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


def test_run_stays_until_all_is_done_and_again_runs_nothing_and_says_why(terminal: Terminal) -> None:
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


def test_a_failure_is_reported_with_its_reason_and_exit_code_1(terminal: Terminal) -> None:
    said = terminal.work("a", "exit 65")
    assert said.code == 1
    assert "letters: 5 runs created, 4 completed, 1 failed" not in said.err
    assert "4 runs created, 3 completed, 1 failed" in said.out
    assert "read executed_obs_unit=scan-1: permanent: " in said.out
    assert "leaving with 65" in said.out
    assert "read: 1 up_to_date" in said.out
    assert "1 retries_exhausted" in said.out


def test_what_runs_failed_for_is_shown_as_it_was_written(terminal: Terminal) -> None:
    terminal.work("[/red] exit 65 [bold]")
    listed = terminal.ok("runs", "letters", "--status", "failed")
    assert "leaving with 65" in "".join(listed.out.split("\n"))
    assert terminal.json("runs", "--status", "FAILED")[0]["attempts"] == 1


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
    said = terminal.json("run", "letters", "--no-publish")
    assert said["now"]["read"] == {"retries_exhausted": 1}
    assert terminal.json("runs")[0]["status"] == "CANCELLED"
    assert f"runs {run} are over already" in terminal.refused("cancel", run)
    assert "1 sub-groups may be tried again: ccat run letters" in terminal.ok("retry", run).out
    assert terminal.json("plan", "letters")["steps"]["read"]["reasons"] == {"missing": 1}


def test_only_what_failed_can_be_retried(terminal: Terminal) -> None:
    terminal.work("a")
    run = terminal.json("runs", "letters", "--step", "read")[0]["id"]
    assert terminal.refused("retry", run) == f"only FAILED or CANCELLED runs can be retried, not {run} (COMPLETED)"
    assert f"runs {run} are over already: nothing to cancel" in terminal.refused("cancel", run)


def test_retry_runs_a_failed_sub_group_once_more(terminal: Terminal) -> None:
    terminal.work("exit 65")
    failed = terminal.json("runs", "--status", "failed")[0]["id"]
    terminal.ok("retry", failed)
    assert terminal.ccat("run", "letters", "--no-publish").code == 1
    assert terminal.called() == ["read executed_obs_unit=scan-0 1"] * 2


@pytest.mark.parametrize("option", [("--force",), ("--sub-group", "all")])
def test_run_wants_the_step_whose_sub_groups_are_meant(terminal: Terminal, option: tuple[str, ...]) -> None:
    assert "need --step" in terminal.refused("run", "letters", *option)


def test_products_are_listed_and_chosen(terminal: Terminal) -> None:
    terminal.work("a", "b")
    assert len(terminal.json("products")) == 12
    assert len(terminal.json("products", "--limit", 5)) == 5
    chosen = terminal.json("products", "letters", "join", "source=source-1", "--type", "science")
    assert [(row["path"], row["type"], row["size_bytes"]) for row in chosen] == [("science/text.txt", "science", 9)]
    shown = terminal.ok("products", "letters", "read").out
    assert shown.count("letters/read") == 4
    assert chosen[0]["sha256"][:12] not in shown


def test_publish_shows_each_finished_run_once(terminal: Terminal) -> None:
    terminal.work("a")
    assert terminal.json("publish") == {"published": 3}
    assert terminal.ok("publish").out == "0 runs published\n"
