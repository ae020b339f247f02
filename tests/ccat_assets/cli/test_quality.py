from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal, catalogue, open_terminal

pytestmark = pytest.mark.slow

SHORT = "[{metric: letters, maximum: 30, blocking: true}, {metric: letters, name: long, minimum: 1000}]"


@pytest.fixture
def blocked(terminal: Terminal) -> Terminal:
    """Give a terminal after a run on a second scan left a number above a blocking limit."""
    assert terminal.work("short", "much longer than thirty letters", quality=SHORT).code == 0
    return terminal


def test_a_blocked_product_is_listed_explained_and_waived(blocked: Terminal) -> None:
    now = blocked.json("why", "letters")["steps"]
    assert now["read"]["reasons"] == {"up_to_date": 1, "quality_blocked": 1}
    assert now["clean"]["reasons"] == {"up_to_date": 1, "waiting_for_upstream": 1}
    shown = blocked.ok("quality", "letters", "read").out
    assert "letters 39 is above 30" in shown
    assert shown.count("failed") == 2, "what does not block is only shown"
    assert shown.count("blocks") == 1
    why = blocked.ok("why", "letters", "read", "executed_obs_unit=scan-1").out
    command = "ccat waive letters/read/executed_obs_unit=scan-1 letters --reason …"
    assert f"letters: letters 39 is above 30; accept it: {command}" in why
    words = ["letters/read/executed_obs_unit=scan-1", "letters", "--reason", "a bright line", "--by", "ben"]
    said = blocked.ok("waive", *words).out
    assert "check letters waived (letters 39 is above 30)" in said
    assert blocked.ok("run", "letters", "--no-publish").code == 0
    assert blocked.json("why", "letters")["steps"]["clean"]["reasons"] == {"up_to_date": 1, "quality_blocked": 1}
    waived = [one["check"]["waiver"] for one in blocked.json("quality", "letters", "read") if one["check"]["waiver"]]
    assert [(one["waived_by"], one["reason"]) for one in waived] == [("ben", "a bright line")]
    assert blocked.refused("waive", *words).startswith("check letters of run 2: waived already by ben")


def test_a_waiver_is_of_the_run_that_fails_though_an_older_one_passed(terminal: Terminal) -> None:
    name = "letters/read/executed_obs_unit=scan-0"
    terminal.work("short", quality=SHORT)
    (terminal.archive / "scan-0" / "scan.dat").write_text("scan-0 much longer than thirty letters\n")
    terminal.write_catalogue(catalogue(1))
    assert terminal.ok("ingest", terminal.archive).code == 0
    terminal.ok("run", "letters", "--no-publish")
    (newest, *_) = terminal.json("runs", "letters")
    assert terminal.json("lineage", name)["run"] == 1, "what later steps read"
    assert f"ccat waive {name} letters --reason …" in terminal.ok("why", *name.split("/")).out
    said = terminal.ok("waive", name, "letters", "--reason", "a bright line").out
    assert said.startswith(f"run {newest['id']}: check letters waived (letters 39 is above 30)")
    assert terminal.refused("waive", name, "letters", "--reason", "again").startswith(
        f"check letters of run {newest['id']}: waived already by ada"
    )
    older = terminal.refused("waive", "run:1", "letters", "--reason", "x")
    assert older == "check letters of run 1: nothing to waive: letters 13 keeps its limits"


def test_passed_checks_are_shown_on_request(blocked: Terminal) -> None:
    assert {one["check"]["passed"] for one in blocked.json("quality", "letters")} == {False}
    assert {one["check"]["passed"] for one in blocked.json("quality", "letters", "--all")} == {False, True}


def test_a_tainted_package_is_left_out_and_comes_back(blocked: Terminal) -> None:
    assert blocked.ok("taint").out == "Tainted packages: none\n"
    said = blocked.json("taint", "scan-0", "--reason", "hot load was off")
    assert said["touched"] == [
        {"pipeline": "letters", "step": step, "runs": 1, "products": 2, "in_flight": 0}
        for step in ("read", "clean", "join")
    ]
    assert "hot load was off" in blocked.ok("taint").out
    before = blocked.calls.read_text()
    blocked.ok("run", "letters", "--no-publish")
    assert blocked.calls.read_text() == before, "there is nothing else that could be made from"
    shown = blocked.ok("taint", "scan-0", "--lift").out
    assert "may be used again: scan-0" in shown
    blocked.ok("run", "letters", "--no-publish")
    assert blocked.calls.read_text() == before, "what there was counts again"
    assert blocked.ok("taint").out == "Tainted packages: none\n"
    assert [one["lifted_by"] for one in blocked.json("taint", "--lift")] == ["ada"]


REFUSED = [
    (("taint", "scan-9", "--reason", "x"), "no raw data package 'scan-9'; known: scan-1, scan-0"),
    (("taint", "scan-0"), "give either --reason, to taint, or --lift, to use the packages again"),
    (("taint", "scan-0", "--lift", "--reason", "x"), "give either --reason, to taint, or --lift"),
    (("taint", "--reason", "x"), "--reason: name the packages that it is for"),
    (("taint", "scan-0", "--reason", "x", "--by", " "), "--by: must not be empty"),
    (("waive", "letters/read", "lettres", "--reason", "x"), "'lettres'; known: letters, long"),
    (("waive", "letters/reed", "letters", "--reason", "x"), "no product 'letters/reed'; known: "),
    (("quality", "lettres"), "no pipeline 'lettres'; known: letters"),
    (("quality", "letters", "reed"), "no step of pipeline letters 'reed'; known: read, clean, join"),
]


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Terminal:
    terminal = open_terminal(tmp_path_factory.mktemp("looked"), sqlite_template)
    assert terminal.work("short", "much longer than thirty letters", quality=SHORT).code == 0
    return terminal


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda value: " ".join(value) if value else "")
def test_what_makes_no_sense_changes_nothing(looked_at: Terminal, words: tuple[str, ...], message: str) -> None:
    assert message in looked_at.refused(*words)
