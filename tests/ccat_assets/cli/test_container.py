import sys
from pathlib import Path

import pytest

from tests.support.hands.cli import Terminal

KEEPS = """
import json, os, pathlib
out = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"])
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
for name in ("science", "qa"):
    (out / name).mkdir()
source = manifest["inputs"][0]["path"] if manifest["inputs"] else None
(out / "science" / "x").write_text("x")
(out / "qa" / "x.json").write_text(json.dumps({"noise": manifest["parameters"].get("noise", 1)}))
"""
CLAUSES = [
    "ends with exit code 0",
    "leaves its input alone",
    "leaves products",
    "writes into known directories only",
    "qa/*.json hold numbers",
]
BREAKS = [
    ("raise SystemExit(75)", "ends with exit code 0", "exit code 75"),
    ("pathlib.Path(source, 'scan.dat').write_text('changed')", "leaves its input alone", "have changed"),
    ("(out / 'science' / 'x').unlink(); (out / 'qa' / 'x.json').unlink()", "leaves products", "nothing in"),
    ("(out / 'stray').write_text('x')", "writes into known directories only", "stray"),
    ("(out / 'qa' / 'x.json').write_text('{\"noise\": \"low\"}')", "qa/*.json hold numbers", "finite number"),
]


@pytest.fixture
def program(terminal: Terminal) -> Path:
    """Give a program that keeps the contract, and a folder for it to read."""
    terminal.observe("a")
    program = terminal.base / "program.py"
    program.write_text(KEEPS)
    return program


def check(terminal: Terminal, program: Path, *options: str) -> tuple[int, dict[str, tuple[bool, str]]]:
    folder = str(terminal.archive / "scan-0")
    said = terminal.ccat("container", "check", "--input", folder, "--json", *options, "--", "{python}", program)
    return said.code, {found["clause"]: (found["kept"], found["finding"]) for found in said.json}


def test_a_program_that_keeps_every_clause(terminal: Terminal, program: Path) -> None:
    code, found = check(terminal, program, "--parameters", '{"noise": 2.5}')
    assert code == 0
    assert [(clause, kept) for clause, (kept, _) in found.items()] == [(clause, True) for clause in CLAUSES]
    assert found["qa/*.json hold numbers"][1] == "noise"
    assert found["leaves products"][1] == "2 files: qa_metric, science"


@pytest.mark.parametrize(("line", "clause", "finding"), BREAKS, ids=[clause for _, clause, _ in BREAKS])
def test_each_clause_can_be_broken(terminal: Terminal, program: Path, line: str, clause: str, finding: str) -> None:
    program.write_text(f"{KEEPS}\n{line}\n")
    code, found = check(terminal, program)
    assert code == 1
    assert finding in found[clause][1]
    assert [name for name, (kept, _) in found.items() if not kept] == [clause]


def test_the_report_in_words(terminal: Terminal, program: Path) -> None:
    shown = terminal.ok("container", "check", "--", "{python}", program).out
    assert shown.startswith("kept   ends with exit code 0: ")
    program.write_text("raise SystemExit(65)")
    said = terminal.ccat("container", "check", "--", "{python}", program)
    assert (said.code, "broken ends with exit code 0: " in said.out) == (1, True)


def test_an_environment_s_interpreter_is_used_as_it_was_named(terminal: Terminal, program: Path) -> None:
    program.write_text(f"{KEEPS}\nimport sys; assert sys.prefix == {sys.prefix!r}, sys.prefix\n")
    assert terminal.ccat("container", "check", "--", sys.executable, program).code == 0


def test_the_working_directory_can_be_the_input(
    terminal: Terminal, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(terminal.archive / "scan-0")
    assert terminal.ccat("container", "check", "--input", ".", "--", "{python}", program).code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input", "/nowhere"), "--input: nothing at /nowhere"),
        (("--image", "/nowhere.sif"), "--image: nothing at /nowhere.sif"),
        (("--parameters", "{"), "--parameters: not JSON: "),
        (("--parameters", "[1]"), "--parameters: must be an object, got '[1]'"),
    ],
)
def test_what_cannot_be_tried_is_refused(terminal: Terminal, options: tuple[str, ...], message: str) -> None:
    assert terminal.refused("container", "check", *options, "--", "true").startswith(message)
