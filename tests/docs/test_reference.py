"""The reference says everything that the code knows, and refuses to say nothing."""

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, Field

from ccat_assets.cli.app import app
from ccat_assets.cli.commands import COMMANDS, GROUPS
from ccat_assets.wiring.settings import Settings
from ccat_models.gap.reasons import Reason
from ccat_models.grouping.operators import OPERATORS
from ccat_models.run.remedies import REMEDIES
from ccat_models.run.retry import DEFAULT_BUDGETS
from ccat_models.run.transitions import LEGAL_TRANSITIONS
from ccat_models.tables import Base
from ccat_models.tables.execution import FailureClass, RunStatus
from tests.docs.pages import DOCS, PAGES, ROOT
from tools.reference import pages, words
from tools.reference.commands import commands_page
from tools.reference.markdown import Undocumented, code, table
from tools.reference.models import Document, superfluous
from tools.reference.pages import DOCUMENTS, MARK, generators


def test_each_generated_text_is_on_one_page() -> None:
    marks = [mark for page in PAGES for mark in MARK.findall(page.read_text())]
    assert sorted(marks) == sorted(generators())


def test_every_registered_command_is_there() -> None:
    page = commands_page(app)
    headings = set(re.findall(r"^#+ `ccat ([\w -]+)`$", page, re.MULTILINE))
    assert {*filter(None, GROUPS), *(command.name for command in COMMANDS)} <= headings
    assert {"pipeline apply", "container check"} <= headings


def test_a_command_shows_what_may_be_said() -> None:
    def greet(
        names: Annotated[list[str], typer.Argument(help="Whom.")],
        times: Annotated[int, typer.Option(min=1, help="How often | at most.")] = 3,
        loud: Annotated[bool, typer.Option("--loud/--soft", help="How.")] = True,
    ) -> None:
        """Greet people."""

    small = typer.Typer()
    small.command("greet")(greet)
    small.command("other")(lambda: None)
    small.registered_commands[1].help = "Something else."
    page = commands_page(small)
    assert "## `ccat greet`\n\nGreet people.\n\n```text\nccat greet [OPTIONS] NAMES…\n```" in page
    assert "| `NAMES` | `str` | *required* | Whom. |" in page
    assert "| `--times` | `int`, ≥ 1 | `3` | How often \\| at most. |" in page
    assert "| `--loud / --soft` |  | `--loud` | How. |" in page


def test_a_command_without_words_is_named() -> None:
    def greet(name: str, times: Annotated[int, typer.Option()] = 3) -> None:
        del name, times

    small = typer.Typer()
    small.command("greet")(greet)
    small.command("other", help="x")(lambda: None)
    with pytest.raises(Undocumented, match=re.escape("explains ccat greet, ccat greet NAME, ccat greet --times")):
        commands_page(small)


class Inner(BaseModel):
    """What is inside."""

    kind: str = Field(description="Described by itself.")
    size: int | None = Field(None, ge=1)


class Round(BaseModel):
    """A circle."""

    kind: Literal["round"] = Field(description="Round.")


class Square(BaseModel):
    """A square."""

    kind: Literal["square"] = Field(description="Square.")


class Outer(BaseModel):
    """What is outside."""

    inner: tuple[Inner, ...]
    shape: Round | Square = Field(description="Its shape.")


OUTER = Document("outer", Outer.model_json_schema())


def test_a_document_shows_each_field() -> None:
    page = OUTER.page({"Outer": {"inner": "All of them."}, "Inner": {"size": "How large."}})
    assert "| `inner` | list of [mapping](#outer-inner) | *required* | All of them. |" in page
    assert "| `shape` | [round](#outer-round) or [square](#outer-square) | *required* | Its shape. |" in page
    assert "(outer-square)=\n## `shape`: square\n\nA square." in page
    assert "(outer-inner)=\n## `inner[]`\n\nWhat is inside." in page
    assert "| `kind` | text | *required* | Described by itself. |" in page
    assert "| `size` | whole number ≥ 1 |  | How large. |" in page


def test_a_field_without_meaning_is_named_and_so_is_a_meaning_without_field() -> None:
    with pytest.raises(Undocumented, match=re.escape("explains outer: Outer.inner, outer: Inner.size")):
        OUTER.page({})
    meanings = {"Outer": {"inner": "x"}, "Inner": {"kind": "x", "size": "x", "colour": "x"}, "Other": {"y": "x"}}
    assert superfluous([OUTER], meanings) == ["Inner.colour", "Inner.kind", "Other.y"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_field_of_a_document_has_a_row(document: Document) -> None:
    page = generators()[document.name]()
    parts = {str(document.schema["title"]): document.schema, **document.schema["$defs"]}
    fields = [field for part in parts.values() for field in part.get("properties", {})]
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(fields)


def test_every_setting_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `CCAT_(\w+)`", words.settings_page(), re.MULTILINE)
    assert [name for name, _ in rows] == list(Settings.model_fields)
    assert all(variable.lower() == name for name, variable in rows)


def test_no_setting_shows_what_this_machine_has() -> None:
    page = words.settings_page()
    assert str(ROOT) not in page
    assert str(Path.home()) not in page


def test_states_show_their_legal_changes() -> None:
    page = words.states_page(pages.read_meanings()["RunStatus"])
    assert page.count("\n| `") == len(RunStatus)
    for status in RunStatus:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{status.value}` |"))
        onward = {RunStatus(word) for word in re.findall(r"`(\w+)`", row.split("|")[4])}
        assert onward == {after for before, after in LEGAL_TRANSITIONS if before is status}
    with pytest.raises(Undocumented, match="status PENDING"):
        words.states_page({})


def test_every_failure_has_a_remedy() -> None:
    assert set(REMEDIES) == set(FailureClass) == set(DEFAULT_BUDGETS)
    assert all(remedy.meaning.endswith(".") and remedy.remedy.endswith(".") for remedy in REMEDIES.values())
    assert len({remedy.meaning for remedy in REMEDIES.values()}) == len(FailureClass)
    rows = re.findall(r"^\| `(\w+)` \|", words.failures_page(), re.MULTILINE)
    assert rows == [failure.value for failure in FailureClass]


def test_remedies_name_what_exists() -> None:
    said = " ".join(remedy.remedy for remedy in REMEDIES.values())
    headings = re.findall(r"^#+ `ccat ([\w -]+)`$", commands_page(app), re.MULTILINE)
    commands = re.findall(r"`ccat ([a-z ]+[a-z])", said)
    assert commands
    assert set(commands) <= set(headings)


def test_reasons_and_exit_codes_are_all_there() -> None:
    assert re.findall(r"^\| `(\w+)` \|", words.reasons_page(), re.MULTILINE) == [reason.value for reason in Reason]
    page = words.exit_codes_page()
    assert "| `0` | success |  |  |" in page
    assert "| `65` | bad data | `permanent` |  |" in page
    assert "| `75` | temporary | `infrastructure` | within the step's budget |" in page
    assert "| `79-255` | science | `science` | within the step's budget |" in page


def test_data_pages_name_operators_and_tables() -> None:
    made = generators()
    assert all(f"| `{name}` |" in made["operators"]() for name in OPERATORS)
    assert all(f"`{name}`" in made["tables"]() for name in Base.metadata.tables)


def test_table_cells_may_contain_their_delimiters() -> None:
    assert table(["a"], [("x | y\nz",)]) == "| a |\n|---|\n| x \\| y z |\n"
    assert table(["a"], []) == ""
    assert [code("x"), code("a`b"), code("")] == ["`x`", "``a`b``", ""]


def test_the_meanings_are_read_once_and_none_is_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "meanings.toml"
    wrong.write_text((DOCS / "meanings.toml").read_text() + '\n[NoSuchModel]\nfield = "x"\n')
    monkeypatch.setattr(pages, "MEANINGS", wrong)
    with pytest.raises(ValueError, match=re.escape("meanings.toml: nothing needs NoSuchModel.field")):
        pages.read_meanings()
