import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.hands.cli import Terminal, catalogue


def test_ingest_again_changes_nothing(terminal: Terminal) -> None:
    folder = terminal.observe("a", "b")
    first = terminal.ok("ingest", folder)
    assert first.out == f"{folder}: 2 packages added, 0 changed, 0 withdrawn, 0 unchanged\n"
    before = terminal.dump()
    assert terminal.json("ingest", folder) == {"added": 0, "changed": 0, "withdrawn": 0, "unchanged": 2}
    assert terminal.dump() == before


def test_a_file_that_changed_and_a_package_that_left_are_seen(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    terminal.observe("a", "other", "c")
    delivered = catalogue(3)
    delivered["packages"][2]["state"] = "failed"
    terminal.write_catalogue(delivered)
    assert terminal.json("ingest", terminal.archive) == {"added": 0, "changed": 1, "withdrawn": 1, "unchanged": 1}


def bad(change: str, value: Any) -> dict[str, Any]:
    """Return a catalogue in which a place, e.g. packages.0.state, has another value."""
    content: Any = catalogue(2)
    *way, last = (int(part) if part.isdigit() else part for part in change.split("."))
    place = content
    for part in way:
        place = place[part]
    place[last] = value
    return dict(content)


BAD = [
    ("schema_version", 2, "schema_version: Input should be 1, got 2"),
    ("packages.1.state", "lost", "packages[1].state: Input should be 'waiting', 'transferring', 'archived' or 'failed'"),
    ("packages.1.path", "../etc", "packages[1].path: Value error, must be a relative directory without '..', got '../etc'"),
    ("packages.1.path", "nowhere", "package scan-1: path: no directory"),
    ("packages.1.name", "scan-0", "packages[1]: 'scan-0' occurs twice"),
    ("packages.1.instrument_module", "X", "packages[1].instrument_module: no 'X' in this catalogue; choose from: CHAI"),
    ("packages.0.executed_obs_unit", "X", "packages[0].executed_obs_unit: no 'X' in this catalogue; choose from: scan-0, scan-1"),
    ("packages.0.colour", "red", "packages[0].colour: unknown key; choose from: name, executed_obs_unit, instrument_module,"),
    ("packages.0.created_at", "2026-04-01", "packages[0].created_at: Input should have timezone info"),
    ("sources.1.kind", "moon", "expected tags: 'fixed_source', 'solar_system_object', 'constant_elevation_source'"),
    ("sources.1.dec_deg", 91, "sources[1].fixed_source.dec_deg: Input should be less than or equal to 90, got 91"),
    ("sources.1.radius", 9, "sources[1].fixed_source.radius: unknown key; choose from: kind, name, ra_deg, dec_deg"),
    ("obs_units.0.line", "CO", "obs_units[0].line: no 'CO' in this catalogue; choose from: CO43"),
    ("executed_obs_units.0.end_time", "2026-03-01T00:00:00Z", "executed_obs_units[0].end_time: 2026-03-01T00:00:00+00:00 is before start_time"),
    ("telescop", {}, "telescop: unknown key; choose from: schema_version, observatory, telescope, instruments,"),
    ("lines.0.rest_frequency_ghz", 0, "lines[0].rest_frequency_ghz: Input should be greater than 0, got 0"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "message"), BAD, ids=[f"{place}={value}" for place, value, _ in BAD])
def test_each_error_names_file_place_value_and_choices(
    terminal: Terminal, place: str, value: Any, message: str
) -> None:
    terminal.observe("a", "b")
    terminal.write_catalogue(bad(place, value))
    said = terminal.refused("ingest", terminal.archive)
    assert said.startswith(f"{terminal.archive / 'catalogue.json'}: ")
    assert message in said


def test_every_error_of_a_catalogue_is_named_at_once(terminal: Terminal) -> None:
    content = bad("packages.0.state", "lost")
    content["lines"][0]["rest_frequency_ghz"] = -1
    terminal.write_catalogue(content)
    assert len(terminal.refused("ingest", terminal.archive).splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"schema', "Invalid JSON"), (b"\xff\xfe{}", "not UTF-8 text"), (b"[]", "should be an object")],
)
def test_what_is_no_catalogue_is_refused(terminal: Terminal, content: bytes, message: str) -> None:
    terminal.archive.mkdir()
    (terminal.archive / "catalogue.json").write_bytes(content)
    said = terminal.refused("ingest", terminal.archive)
    assert re.match(rf"{terminal.archive}/catalogue.json: .*{message}", said), said


def test_a_folder_without_a_catalogue_or_none_at_all_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    terminal.archive.mkdir()
    assert terminal.refused("ingest", terminal.archive).endswith("catalogue.json: No such file or directory")
    assert terminal.refused("ingest", tmp_path / "none") == f"FOLDER: no directory {tmp_path / 'none'}"


def test_an_archived_package_without_files_is_refused(terminal: Terminal) -> None:
    folder = terminal.observe("a", "b")
    (folder / "scan-1" / "scan.dat").unlink()
    said = terminal.refused("ingest", folder)
    assert said == f"{folder / 'catalogue.json'}: packages[1].path: archived package 'scan-1' has no file in scan-1"


def test_an_example_is_known_by_its_name(terminal: Terminal) -> None:
    terminal.archive.mkdir()
    said = terminal.refused("ingest", terminal.archive, "--example", "site-pvw")
    assert said == "no example 'site-pvw'; known: site-pwv"
    assert "holds no *.dat file" in terminal.refused("ingest", terminal.archive, "--example", "site-pwv")


def test_preview_shows_names_as_they_are_written(terminal: Terminal) -> None:
    terminal.observe("a")
    content = catalogue(1)
    content["packages"][0]["name"] = "[bold]:smile:"
    terminal.write_catalogue(content)
    terminal.ok("ingest", terminal.archive)
    rules = terminal.base / "rules.yaml"
    rules.write_text("- {table: RawDataPackage, column: state, operator: eq, value: archived}\n")
    assert "[bold]:smile:  scan-0" in terminal.ok("grouping", "preview", rules).out


RULES = [
    ("{table: Source, column: name, operator: eq, value: source-1}", ["scan-0", "scan-2"]),
    ("{table: Source, column: name, operator: in, value: [source-2]}", ["scan-1"]),
    ("{table: RawDataPackage, column: name, operator: like, value: scan-_}", ["scan-0", "scan-1", "scan-2"]),
    (
        "{table: RawDataPackage, column: state, operator: gt, value: failed}",
        "gt does not apply to RawDataPackage.state",
    ),
    ("{table: Source, column: name, operator: equals, value: x}", "no operator 'equals'; choose from: eq, "),
    ("{table: Sauce, column: name, operator: eq, value: x}", "rules[0].table: "),
    ("{table: Source, column: nam, operator: eq, value: x}", "rules[0].column: "),
    ("{table: Source, operator: eq, value: x}", "a rule has table, column, operator, value"),
    ("{table: RawDataPackage, column: state, operator: eq, value: lost}", "rules[0].value: "),
]


@pytest.mark.parametrize(("rule", "expected"), RULES, ids=[rule for rule, _ in RULES])
def test_preview_shows_what_rules_choose_and_stores_nothing(
    terminal: Terminal, rule: str, expected: list[str] | str
) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    rules = terminal.base / "rules.yaml"
    rules.write_text(f"- {rule}\n")
    before = terminal.dump()
    if isinstance(expected, list):
        shown = terminal.json("grouping", "preview", rules)
        assert [member["name"] for member in shown["members"]] == expected
        assert shown["count"] == len(expected)
        limited = terminal.json("grouping", "preview", rules, "--limit", 1)
        assert (limited["count"], len(limited["members"])) == (len(expected), 1)
    else:
        assert expected in terminal.refused("grouping", "preview", rules)
    assert terminal.dump() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"table: Source\n", "must hold a list of rules, got dict"),
        (b"- [\n", "rules.yaml"),
        (b"\xff\xfe\xfd", "not UTF-8 text"),
    ],
)
def test_a_file_of_rules_that_is_none_is_refused(terminal: Terminal, content: bytes, message: str) -> None:
    rules = terminal.base / "rules.yaml"
    rules.write_bytes(content)
    said = terminal.refused("grouping", "preview", rules)
    assert said.startswith(str(rules))
    assert message in said


def test_presets_are_listed_filled_and_refused_with_what_they_need(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b", "c"))
    listed = {preset["name"] for preset in terminal.json("grouping", "presets")}
    assert {"chai_line_map", "archived_of_source", "observed_between"} <= listed
    preset = ("grouping", "preview", "--preset")
    chosen = terminal.json(*preset, "chai_line_map", "--value", "source=source-1", "--value", "line=CO43")
    assert [member["name"] for member in chosen["members"]] == ["scan-0", "scan-2"]
    assert "no preset 'chai'; known: chai_line_map, " in terminal.refused(*preset, "chai")
    assert "no value for line; it needs: source, line" in terminal.refused(
        *preset, "chai_line_map", "--value", "source=source-1"
    )
    assert "no placeholder 'sauce'; choose from: source" in terminal.refused(
        *preset, "archived_of_source", "--value", "sauce=x"
    )
    assert "must be NAME=VALUE, got 'source'" in terminal.refused(*preset, "archived_of_source", "--value", "source")
    assert "one of the two" in terminal.refused("grouping", "preview")


def test_the_same_scans_from_a_folder_that_moved_are_read_there(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    terminal.declare()
    moved = terminal.archive.rename(terminal.base / "moved")
    assert json.loads((moved / "catalogue.json").read_text())["schema_version"] == 1
    assert terminal.json("ingest", moved) == {"added": 0, "changed": 0, "withdrawn": 0, "unchanged": 1}
    assert terminal.ok("run", "letters", "--no-publish").code == 0
