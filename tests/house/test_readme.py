"""What README.md and docs/ ask people to type and to open exists."""

import re
from pathlib import Path

import pytest

from ccat_assets.cli.commands import COMMANDS

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted(REPOSITORY.glob("examples/*/*.md")),
]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)\)")
COMMAND = re.compile(r"\bccat ((?:[a-z]+ ?){1,2})")


def known_commands() -> set[str]:
    return {command.name for command in COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_exist(page: Path) -> None:
    known = known_commands()
    code = re.findall(r"`([^`\n]+)`", page.read_text()) + re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    said = [words.split() for text in code for words in COMMAND.findall(text)]
    unknown = [words for words in said if words[0] not in known and " ".join(words[:2]) not in known]
    assert unknown == []


def test_the_readme_names_commands_and_targets_that_exist() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", readme)) - {"git"}
    assert {"run", "test", "help"} <= named <= targets
    assert len(COMMAND.findall(readme)) > 10
