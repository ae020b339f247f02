"""Frequent commands import only what they need; the table of commands agrees with the commands themselves."""

import inspect
import os
import re
import subprocess  # noqa: TID251 - a new process has imported nothing yet
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from ccat_assets.cli.app import app
from ccat_assets.cli.commands import COMMANDS, GROUPS, HELP_OPTION, OPTIONS, WITHOUT_COMMAND, members
from ccat_assets.cli.completion import QUESTION, completed
from ccat_assets.cli.lazy import function_at
from tests.support.hands.cli import Terminal

ROOT = Path(__file__).parents[3]
LARGE = {"dagster", "paramiko", "boto3", "alembic", "sqlalchemy", "pydantic"}
WITHOUT_DATABASE = [
    ("--help",),
    ("-h",),
    ("--version",),
    *((group, "--help") for group in GROUPS if group and group not in WITHOUT_COMMAND),
]
READING = [("runs",), ("why", "letters"), ("products",), ("lineage", "letters/join/source=source-1")]
MODULES = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "


def loaded_by(*words: str, **environment: str) -> tuple[str, set[str]]:
    """Return what a new process says to a command, and which packages it has imported at its end."""
    said, modules = modules_of(*words, **environment)
    return said, {name.partition(".")[0] for name in modules}


def modules_of(*words: str, **environment: str) -> tuple[str, set[str]]:
    """Return what a new process says to a command, and which modules it has imported at its end."""
    done = run_of(MODULES, *words, **environment)
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def run_of(first: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return a command that a new process ran, after some statements."""
    program = f"{first}import sys; sys.argv[0] = 'ccat'; from ccat_assets.cli import main; main()"
    inherited = {name: value for name, value in os.environ.items() if "CCAT_" not in name}  # noqa: TID251
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("words", WITHOUT_DATABASE, ids=" ".join)
def test_help_and_version_import_nothing_large(words: tuple[str, ...]) -> None:
    said, loaded = loaded_by(*words)
    assert said.strip()
    assert loaded & (LARGE | {"typer"}) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_names_imports_nothing_large(shell: str) -> None:
    said, loaded = loaded_by(**{QUESTION: f"complete_{shell}"}, **question("ccat pipe"))
    assert "pipeline" in said
    assert loaded & (LARGE | {"typer", "rich"}) == set()


def test_the_completion_script_imports_nothing_large() -> None:
    said, loaded = loaded_by(**{QUESTION: "source_bash"})
    assert "complete -o default -F _ccat_completion ccat" in said
    assert loaded & (LARGE - {"pydantic"}) == set()


@pytest.mark.slow
@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_commands_that_read_import_what_they_need(worked: Terminal, words: tuple[str, ...]) -> None:
    said, modules = modules_of(*words, **worked.environment)
    loaded = {name.partition(".")[0] for name in modules}
    assert said.strip()
    assert "sqlalchemy" in loaded
    assert loaded & {"dagster", "paramiko", "boto3", "alembic", "psycopg2", "pydantic_settings"} == set()
    unneeded = {"sqlalchemy.dialects.postgresql", "resources.slurm", "urllib.request", "tarfile", "statistics", "html"}
    assert modules & unneeded == set()


@pytest.mark.parametrize("words", READING[:1] + READING[2:], ids=" ".join)
def test_lists_import_only_the_tables_that_they_read(worked: Terminal, words: tuple[str, ...]) -> None:
    said, loaded = modules_of(*words, **worked.environment)
    assert said.strip()
    assert "ccat_models.tables.execution" in loaded
    assert loaded & {f"ccat_models.tables.{name}" for name in ("places", "staging")} == set()
    assert loaded & {"ccat_models.run.request", "ccat_models.raw.locations"} == set()


def test_a_command_works_with_garbage_collection_and_leaves_what_is_imported_alone(worked: Terminal) -> None:
    report = "import atexit, gc; atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 50_000)); "
    assert run_of(report, "runs", **worked.environment).stdout.splitlines()[-1] == "True True"
    assert run_of(report, "pipeline", "list", **worked.environment).stdout.splitlines()[-1] == "True True"


def question(line: str) -> dict[str, str]:
    """Return how bash, zsh and fish each ask what the last word of a line may become."""
    place = len(line.split()) - (0 if line.endswith(" ") else 1)
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(place)}
    return {**asked, "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


def words(text: str) -> list[str]:
    """Return the words of a completion: Typer breaks helps into lines and leaves marks of code away."""
    return re.sub(r"\\*`", "", text).split()


@pytest.mark.parametrize("line", ["ccat ", "ccat p", "ccat pipeline ", "ccat pipeline en", "ccat software re"])
@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_names_are_completed_as_typer_would(shell: Any, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in question(line).items():
        monkeypatch.setenv(name, value)
    theirs = shell(typer.main.get_command(app), {}, "ccat", QUESTION).complete()
    ours = completed({QUESTION: f"complete_{shell.name}", **question(line)})
    assert ours is not None
    assert words(ours) == words(theirs)


@pytest.mark.parametrize("line", ["ccat pipeline apply --", "ccat --", "ccat runs ", "ccat nothing ", "ccat zzz"])
def test_what_is_no_name_of_a_command_is_left_to_typer(line: str) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert completed({QUESTION: f"complete_{shell}", **question(line)}) is None
    assert completed({QUESTION: "source_bash"}) is None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_table_says_what_the_command_says(command: Any) -> None:
    doc = inspect.getdoc(function_at(command.function))
    assert doc is not None
    assert command.help == doc.splitlines()[0]


def test_the_table_names_the_options_that_ccat_has() -> None:
    root: Any = typer.main.get_command(app)
    said = [(parameter.opts[0], parameter.help) for parameter in root.params]
    assert sorted(said) == sorted((option.name, option.help) for option in OPTIONS)
    theirs = root.get_help_option(root.make_context("ccat", ["runs"], resilient_parsing=True))
    assert theirs is not None
    assert (set(theirs.opts), theirs.help) == ({HELP_OPTION.name, HELP_OPTION.short}, HELP_OPTION.help)


def test_every_command_is_in_a_group() -> None:
    listed = [f"{group} {name}".lstrip() for group in GROUPS for name in members(group)]
    assert sorted(listed) == sorted([*(command.name for command in COMMANDS), *filter(None, GROUPS)])


def test_the_version_is_that_of_the_project(terminal: Terminal) -> None:
    written = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert written == f'version = "{terminal.ok("--version").out.strip()}"'


def test_the_help_of_a_group_is_the_same_with_and_without_typer(terminal: Terminal) -> None:
    asked = terminal.ok("pipeline", "--help").out
    unasked = terminal.ccat("pipeline")
    assert (unasked.code, unasked.out + unasked.err) == (2, asked)
