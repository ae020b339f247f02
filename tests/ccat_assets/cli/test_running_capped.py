"""`ccat run` of a pipeline that may have few runs in flight, and of names that nothing answers to."""

import pytest

from tests.support.hands.cli import Terminal

pytestmark = pytest.mark.slow

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(5)]


@pytest.fixture
def capped(terminal: Terminal) -> Terminal:
    """Give a pipeline of five scans, the last one bad, that may have two runs in flight."""
    terminal.ok("ingest", terminal.observe("a", "b", "c", "d", "exit 65"))
    terminal.declare(extra="max_in_flight: 2\n")
    return terminal


def test_run_of_a_step_stays_until_each_sub_group_had_its_turn_and_prints_their_reasons(capped: Terminal) -> None:
    said = capped.ccat("run", "letters", "--step", "read", "--no-publish", "--json")
    assert (said.code, said.json["created"], said.json["completed"]) == (1, {"read": 5}, 4)
    assert said.json["now"] == {"read": {"up_to_date": 4, "retries_exhausted": 1}}
    assert [row["sub_group"] for row in said.json["failed"]] == [KEYS[4]]
    assert capped.called() == [f"read {key} 1" for key in KEYS]


def test_run_of_named_sub_groups_reports_only_these(capped: Terminal) -> None:
    named = [word for key in KEYS[:3] for word in ("--sub-group", key)]
    said = capped.json("run", "letters", "--step", "read", *named, "--no-publish")
    assert (said["created"], said["now"]) == ({"read": 3}, {"read": {"up_to_date": 3}})
    assert capped.called() == [f"read {key} 1" for key in KEYS[:3]]


def test_run_of_a_pipeline_stays_as_well(capped: Terminal) -> None:
    said = capped.ccat("run", "letters", "--no-publish", "--json")
    assert said.json["created"] == {"read": 5, "clean": 4, "join": 1}
    assert capped.json("run", "letters", "--detach")["created"] == {"read": [], "clean": [], "join": []}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "no pipeline 'nothing'; known: letters"),
        (("letters", "--step", "nothing"), "no step of pipeline letters 'nothing'; known: read, clean, join"),
        (("letters", "--step", "read", "--sub-group", "all"), "no sub-group of step read 'all'; known: " + KEYS[0]),
    ],
)
def test_a_name_that_is_unknown_is_refused_without_a_bar_and_nothing_is_begun(
    capped: Terminal, words: tuple[str, ...], message: str
) -> None:
    capped.json("plan", "letters")  # memberships are written at the first look, by whichever process
    assert capped.refused("run", *words).startswith(message)
    assert capped.called() == []
