import pytest

from tests.support.hands.cli import Terminal
from tests.support.programs.tiny import pipeline_yaml


def test_apply_again_changes_nothing(terminal: Terminal) -> None:
    file = terminal.declare()
    before = terminal.dump()
    assert terminal.ok("pipeline", "apply", file).out == f"{file}: nothing changed, revision 1\n"
    assert terminal.json("pipeline", "apply", file) == {"changed": False, "revision": 1, "differences": []}
    assert terminal.dump() == before


def test_a_dry_run_shows_the_differences_and_changes_nothing(terminal: Terminal) -> None:
    file = terminal.declare()
    file.write_text(pipeline_yaml(terminal.calls, cooldown="60"))
    before = terminal.dump()
    said = terminal.ok("pipeline", "apply", file, "--dry-run")
    assert "steps.read.cooldown_seconds" in said.out
    assert said.out.endswith(f"{file}: would change, nothing done\n")
    assert terminal.json("pipeline", "apply", file, "--dry-run")["changed"] is True
    assert terminal.dump() == before
    applied = terminal.ok("pipeline", "apply", file)
    assert applied.out == said.out.replace("would change, nothing done", "revision 2 is current")


def test_a_first_dry_run_declares_nothing(terminal: Terminal) -> None:
    terminal.declare()
    other = terminal.file.with_name("other.yaml")
    other.write_text(pipeline_yaml(terminal.calls, name="other"))
    assert "would change" in terminal.ok("pipeline", "apply", other, "--dry-run").out
    assert [found["name"] for found in terminal.json("pipeline", "list")] == ["letters"]


def test_what_is_exported_can_be_applied_and_changes_nothing(terminal: Terminal) -> None:
    file = terminal.declare(cooldown="60")
    exported = terminal.ok("pipeline", "export", "letters").out
    assert terminal.json("pipeline", "export", "letters") == {"pipeline": "letters", "yaml": exported}
    file.write_text(exported)
    before = terminal.dump()
    assert "nothing changed" in terminal.ok("pipeline", "apply", file).out
    assert terminal.dump() == before


def test_an_earlier_revision_can_be_exported_and_applied_again(terminal: Terminal) -> None:
    terminal.declare()
    first = terminal.ok("pipeline", "export", "letters").out
    file = terminal.declare(cooldown="60")
    assert terminal.ok("pipeline", "export", "letters").out != first
    assert terminal.ok("pipeline", "export", "letters", "--revision", 1).out == first
    file.write_text(first)
    assert terminal.ok("pipeline", "apply", file).out.endswith("revision 3 is current\n")


BAD = [
    ("mode: ad_hoc", "mode: sometimes", "5:1: mode: unknown choice; value 'sometimes'; choose from standing, ad_hoc"),
    ("mode: ad_hoc", "moode: ad_hoc", "moode: unknown key; choose from schema_version, name,"),
    ("depends_on: [read]", "depends_on: [reed]", "reed"),
    ("operator: eq", "operator: equals", "no operator 'equals'"),
    ("processing_location: local", "processing_location: nowhere", "nowhere"),
    ("code: [reduce.py]", "code: [reduse.py]", "software letters 1.0.0: code: "),
    ("mode: ad_hoc", "mode: [", "not YAML: "),
]


@pytest.mark.parametrize(("right", "wrong", "message"), BAD, ids=[wrong for _, wrong, _ in BAD])
def test_bad_lines_are_named_and_nothing_changes(terminal: Terminal, right: str, wrong: str, message: str) -> None:
    file = terminal.declare()
    file.write_text(file.read_text().replace(right, wrong))
    said = terminal.refused("pipeline", "apply", file)
    assert message in said
    assert terminal.refused("pipeline", "apply", file, "--dry-run") == said


def test_each_bad_line_has_a_line_of_its_own(terminal: Terminal) -> None:
    file = terminal.declare()
    text = file.read_text().replace("mode: ad_hoc", "mode: x").replace("time_hours: 0.01", "time_hours: -1")
    file.write_text(text)
    numbers = [n for n, line in enumerate(text.splitlines(), 1) if "mode: x" in line or "time_hours: -1" in line]
    said = terminal.refused("pipeline", "apply", file).splitlines()
    assert [line.removeprefix(f"{file}:").split(":")[0] for line in said] == [str(number) for number in numbers]


def test_a_file_that_is_not_there_or_is_no_text_is_refused(terminal: Terminal) -> None:
    none = terminal.base / "none.yaml"
    assert terminal.refused("pipeline", "apply", none) == f"{none}: No such file or directory"
    none.write_bytes(b"name: \xff\n")
    assert "not UTF-8 text" in terminal.refused("pipeline", "apply", none)


def test_changed_code_of_a_registered_version_is_refused_and_doctor_notes_it(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    file = terminal.declare()
    terminal.ok("run", "letters", "--no-publish")
    program = file.with_name("reduce.py")
    program.write_text(program.read_text() + "# changed\n")
    assert "1.0.0" in terminal.refused("pipeline", "apply", file)
    (code,) = [found for found in terminal.json("doctor") if found["what"] == "code"]
    assert (code["verdict"], "has changed since it was registered" in code["finding"]) == ("note", True)
