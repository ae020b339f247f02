"""Prints answers: JSON for programs, tables for people."""

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ccat_assets.wiring.application import Application
from ccat_assets.wiring.settings import load

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_PIPE_WIDTH = 200  # columns where the output is no terminal

# No emoji: a sub-group's key may contain text such as `:star:`.
console = Console(soft_wrap=True, highlight=False, emoji=False)
if not console.is_terminal:
    console = Console(soft_wrap=True, highlight=False, emoji=False, width=_PIPE_WIDTH)
error_console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def application() -> Application:
    """Return the application of this process, built from its settings."""
    return Application(load().settings)


def ready() -> Application:
    """Return the application of this process; raise Refused where there is no database of this version."""
    app = application()
    app.check_database()
    return app


def plain(value: Any) -> Any:
    """Return a value for JSON: dataclasses as objects, enums as their values, times in ISO 8601."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum | datetime | Path):
        return _word(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def _word(value: enum.Enum | datetime | Path) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under column names; long cells are folded, never cut."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(plain(cell))) for cell in row))  # text is never markup
        count += 1
    console.print(table if count else f"{title}: none")
