"""The pages of the documentation and the blocks of code on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"(?P<fence>`{3,})(?P<language>[^`]*)")
_MARKER = re.compile(r"<!-- (?P<name>[a-z ]+): (?P<value>.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text and what the comment right above it says."""

    page: Path
    line: int
    language: str
    text: str
    marker: str = ""
    value: str = ""

    @property
    def place(self) -> str:
        """Return the place as an editor takes it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    above = ""
    for number, line in lines:
        begins = _FENCE.fullmatch(line.strip())
        if begins is None:
            above = line or above
            continue
        text = []
        for _, inner in lines:
            if inner.strip() == begins["fence"]:
                break
            text.append(inner)
        said = _MARKER.fullmatch(above)
        marker = (said["name"], said["value"]) if said else ("", "")
        yield Block(page, number, begins["language"].strip(), "\n".join(text) + "\n", *marker)
        above = ""


def continued_page(page: Path) -> Path | None:
    """Return the page that a page continues, None for one that begins anew."""
    said = re.search(r"^<!-- continues: (\S+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return (page.parent / said[1]).resolve() if said else None
