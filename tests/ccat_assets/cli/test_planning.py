from pathlib import Path

import pytest

from ccat_assets.cli.planning import duration_text
from tests.support.hands.cli import Said, Terminal
from tests.support.programs.tiny import pipeline_yaml


@pytest.fixture
def done(terminal: Terminal) -> Terminal:
    """Give the terminal of a user whose pipeline is up to date on two scans."""
    assert terminal.work("a", "b").code == 0
    return terminal


def look(terminal: Terminal, *words: str | Path) -> Said:
    """Plan; whatever is said, every table is as it was."""
    before = terminal.dump()
    said = terminal.ok("plan", *words)
    assert terminal.dump() == before
    return said


def test_a_first_plan_is_based_on_declared_resources(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    terminal.declare()
    said = look(terminal, "letters", "--json").json
    read = said["steps"]["read"]
    assert (read["reasons"], read["now"], read["afterwards"]) == ({"missing": 3}, 3, 0)
    assert read["cost"] == {
        "runs": 3,
        "core_hours": pytest.approx(0.03),
        "wall_seconds": 36.0,
        "written_bytes": None,
        "cap": 4,
        "capped_by": "location",
        "basis": "declared resources, no history",
        "written_basis": "unknown, no history",
    }
    assert said["cost"] == {
        "runs": 8,
        "core_hours": pytest.approx(0.08),
        "wall_seconds": 108.0,
        "longest_path": ["read", "clean", "join"],
        "written_bytes": 0.0,
        "unknown_bytes": ["read", "clean", "join"],
    }
    assert said["capacity"] == {"free": 4, "unknown": None}


def test_a_plan_names_the_basis_and_the_cap_of_its_numbers(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    terminal.declare()
    shown = look(terminal, "letters").out
    assert "Plan of letters (revision 1)" in shown
    assert "4 at a time (location)" in shown
    assert "declared resources, no history" in shown
    assert shown.splitlines()[-1] == (
        "In all 8 runs, 0.08 core-hours, about 108 s (read → clean → join), 0 B written"
        " and what read, clean, join would write, unknown"
    )


def test_a_release_is_planned_before_it_is_made(done: Terminal) -> None:
    words = ("letters", "--release", "letters=1.1.0", "--reprocess-from", "1.1.0")
    said = look(done, *words, "--json").json
    assert {name: (step["now"], step["afterwards"]) for name, step in said["steps"].items()} == {
        "read": (2, 0),
        "clean": (0, 2),
        "join": (0, 2),
    }
    assert said["steps"]["join"]["cost"]["basis"] == "from 2 runs"
    assert said["steps"]["join"]["cost"]["written_bytes"] > 0
    assert [one["sub_groups"] for one in said["release"]["consequences"]] == [2, 2, 2]
    shown = look(done, *words).out
    assert shown.startswith("As if letters 1.1.0 had been released:\n  letters/read: runs 1.0.0 → 1.1.0;")
    assert "from 2 runs" in shown
    assert "In all 6 runs" in shown


def test_a_cosmetic_release_costs_nothing(done: Terminal) -> None:
    shown = look(done, "letters", "--release", "letters=1.1.0", "--cosmetic").out
    assert shown.splitlines()[-1] == "Cost: nothing, there is nothing to run"
    shown = look(done, "letters", "--release", "letters=1.0.0").out
    assert shown.startswith("As if letters 1.0.0 had been released:\n  it is released already\n")


def test_a_changed_declaration_is_planned_before_it_is_applied(done: Terminal) -> None:
    file = done.file
    file.write_text(pipeline_yaml(done.calls, seconds="1"))
    said = look(done, "--file", file, "--json").json
    assert (said["pipeline"], said["revision"]) == ("letters", 2)
    assert said["steps"]["read"]["reasons"] == {"config_changed": 2}
    assert [one["path"] for one in said["differences"]] == [
        f"steps.{step}.parameters.seconds" for step in ("read", "clean", "join")
    ]
    shown = look(done, "letters", "--file", file).out
    assert shown.startswith("As if this had been applied:\nsteps.read.parameters.seconds: 0 → 1\n")
    file.write_text(pipeline_yaml(done.calls))
    assert "nothing would change" in look(done, "--file", file).out


def test_a_pipeline_that_does_not_exist_yet_is_planned(done: Terminal) -> None:
    file = done.file.with_name("other.yaml")
    file.write_text(pipeline_yaml(done.calls, name="other"))
    said = look(done, "--file", file, "--sub-groups", "--json").json
    assert {name: (step["now"], step["afterwards"]) for name, step in said["steps"].items()} == {
        "read": (2, 0),
        "clean": (0, 2),
        "join": (0, 2),
    }
    assert said["steps"]["read"]["cost"]["basis"] == "from 6 runs of other steps with software letters"
    assert [row["reason"] for row in said["sub_groups"]["read"]] == ["missing", "missing"]
    assert [one["name"] for one in done.json("pipeline", "list")] == ["letters"]


def test_sub_groups_are_listed(done: Terminal) -> None:
    shown = look(done, "letters", "--sub-groups", "--limit", "1").out
    assert shown.count("executed_obs_unit=scan-0") == 2
    assert "scan-1" not in shown


REFUSED = [
    ("plan", "plan what? name a pipeline, or a declaration with --file"),
    ("plan letters --cosmetic", "--cosmetic and --reprocess-from need --release: of which version?"),
    ("plan letters --reprocess-from 1.0.0", "--cosmetic and --reprocess-from need --release: of which version?"),
    ("plan letters --release letters", "--release: must be NAME=VERSION, got 'letters'"),
    ("plan letters --release =1.0.0", "--release: must be NAME=VERSION, got '=1.0.0'"),
    ("plan letters --release letters=", "--release: must be NAME=VERSION, got 'letters='"),
    ("plan letters --release letters=1", "software letters 1: version: version must be X.Y.Z"),
    ("plan letters --release lettres=1.1.0", "no software of pipeline letters 'lettres'; known: letters"),
    ("plan lettres --release letters=1.1.0", "no pipeline 'lettres'; known: letters"),
    ("plan letters --release letters=1.1.0 --reprocess-from 1.2.0", "software letters 1.1.0: reprocess_from: must not be newer"),
    ("plan letters --release letters=1.1.0 --file FILE", "--release and --file: suppose one change at a time"),
    ("plan other --file FILE", "FILE: declares pipeline letters, not other"),
    ("plan --file /no/such.yaml", "/no/such.yaml: No such file or directory"),
    ("plan lettres", "no pipeline 'lettres'; known: letters"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[words for words, _ in REFUSED])
def test_what_cannot_be_planned_is_refused(terminal: Terminal, words: str, message: str) -> None:
    file = terminal.declare()
    said = terminal.refused(*(file if word == "FILE" else word for word in words.split()))
    assert said.startswith(message.replace("FILE", str(file)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7100, "118 min"),
        (7200, "2 h 00 min"),
        (7500, "2 h 05 min"),
        (172_800, "2 d 0 h"),
    ],
)
def test_durations_are_printed_in_suitable_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
