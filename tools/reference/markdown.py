"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence


class Undocumented(Exception):
    """Raise where something that people may use has no words that explain it; each is named."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no text explains {', '.join(names)}")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; an empty one is no text."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if not lines:
        return ""
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *lines, ""])


def code(text: str) -> str:
    """Return a text as code, empty text as nothing."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if text else ""


def section(level: int, title: str, *parts: str, name: str = "") -> str:
    """Return a heading, with a name for links to it, and the text below it."""
    label = f"({name})=\n" if name else ""
    return "\n\n".join([f"{label}{'#' * level} {title}", *(part for part in parts if part)]) + "\n"


def documented(text: str | None, name: str, missing: list[str]) -> str:
    """Return a text as one line; note the name where there is none."""
    if not text:
        missing.append(name)
        return ""
    return " ".join(text.split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
