import pytest

from tests.support.hands.cli import Terminal
from tests.support.programs.tiny import pipeline_yaml

pytestmark = pytest.mark.slow


@pytest.fixture
def failing(terminal: Terminal) -> Terminal:
    """Give a terminal after step `read` failed on five scans in a row; it has one more to do."""
    assert terminal.work(*["exit 65"] * 5).code == 1
    terminal.ok("ingest", terminal.observe(*["exit 65"] * 5, "good"))
    return terminal


def test_an_open_circuit_is_shown_and_reset_and_the_step_runs_again(failing: Terminal) -> None:
    read, clean, join = failing.json("circuit", "list")
    assert (read["step"], read["failures"], read["threshold"], read["open"]) == ("read", 5, 5, True)
    assert read["open_since"] is not None
    assert "exit code 65 (bad data)" in read["last_failure"]
    assert [(one["failures"], one["open"], one["open_since"]) for one in (clean, join)] == [(0, False, None)] * 2
    shown = failing.ok("circuit", "list").out
    assert "5 of 5" in shown
    assert "open" in shown
    assert failing.json("run", "letters", "--no-publish")["created"].get("read", 0) == 0
    said = failing.ok("circuit", "reset", "letters", "read").out
    assert said.startswith("letters/read: circuit closed after 5 science failures in a row\n")
    assert failing.dump()["circuit_reset"][0][-1] == "ada"
    assert failing.json("circuit", "list")[0]["open"] is False
    assert failing.json("run", "letters", "--no-publish")["created"]["read"] == 1


def test_resetting_a_closed_circuit_says_so_and_changes_nothing(failing: Terminal) -> None:
    before = failing.dump()
    said = failing.ok("circuit", "reset", "letters", "clean").out
    assert said == (
        "letters/clean: its circuit is closed already (0 science failures in a row, it opens at 5); nothing changed\n"
    )
    assert failing.json("circuit", "reset", "letters", "clean")["changed"] is False
    assert failing.dump() == before


def test_a_reset_answers_in_json(failing: Terminal) -> None:
    said = failing.json("circuit", "reset", "letters", "read")
    assert (said["changed"], said["was"]["open"], said["was"]["failures"]) == (True, True, 5)


UNKNOWN = [
    ("circuit reset lettres read", "no pipeline 'lettres'; known: letters"),
    ("circuit reset letters reed", "no step of pipeline letters 'reed'; known: read, clean, join"),
    ("pipeline enable lettres", "no pipeline 'lettres'; known: letters"),
    ("pipeline disable lettres", "no pipeline 'lettres'; known: letters"),
]


@pytest.mark.parametrize(("words", "message"), UNKNOWN, ids=[words for words, _ in UNKNOWN])
def test_unknown_names_are_answered_with_the_known_ones(terminal: Terminal, words: str, message: str) -> None:
    terminal.declare()
    assert terminal.refused(*words.split()) == message


def test_a_disabled_pipeline_requests_nothing_and_its_runs_in_flight_continue(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b"))
    terminal.declare()
    other = terminal.file.with_name("other.yaml")
    other.write_text(pipeline_yaml(terminal.calls, name="other"))
    terminal.ok("pipeline", "apply", other)
    terminal.ok("run", "letters", "--detach")
    said = terminal.ok("pipeline", "disable", "letters").out.splitlines()
    assert said[0] == "letters: disabled"
    assert said[1].startswith("  read: ")
    assert said[1].endswith(" in flight, and they go on")
    assert sum(terminal.json("pipeline", "disable", "letters")["in_flight"]["read"].values()) == 2
    done = terminal.json("run", "letters", "--no-publish")
    assert (done["completed"], done["now"]["clean"]) == (2, {"disabled": 2})
    before = terminal.dump()
    assert terminal.ok("pipeline", "disable", "letters").out == "letters: disabled already, nothing changed\n"
    assert terminal.dump() == before
    listed = [(one["name"], one["enabled"], one["revision"]) for one in terminal.json("pipeline", "list")]
    assert listed == [("letters", False, 1), ("other", True, 1)]
    assert terminal.json("pipeline", "enable", "letters") == {
        "pipeline": "letters",
        "enabled": True,
        "changed": True,
        "in_flight": {},
    }
    assert terminal.ok("pipeline", "enable", "letters").out == "letters: enabled already, nothing changed\n"
    assert terminal.json("run", "letters", "--no-publish")["completed"] == 4
