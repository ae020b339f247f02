"""What `--help` shows of `ccat` and of its groups: from the table of commands, in the look of Typer's own."""

import re
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ccat_assets.cli.commands import GROUPS, HELP_OPTION, OPTIONS, members

_CODE = re.compile(r"`([^`]+)`")


def print_help(group: str) -> None:
    """Print the help of a group, `` for `ccat` itself."""
    console = Console(highlight=False)
    for part in _parts(group):
        console.print(part)


def _parts(group: str) -> Iterator[RenderableType]:
    name = f"ccat {group}".rstrip()
    usage = Text.assemble(("Usage: ", "yellow"), (name, "bold"), " [OPTIONS] COMMAND [ARGS]...")
    yield Padding(usage, 1)
    yield Padding(GROUPS[group], (0, 1, 1, 1))
    options = _table()
    options.add_column(style="bold cyan", no_wrap=True)
    options.add_column(style="bold green", no_wrap=True)
    options.add_column(style="bold yellow", no_wrap=True)
    options.add_column(ratio=1)
    for option in (*(() if group else OPTIONS), HELP_OPTION):
        options.add_row(option.name, option.short, "<bool>", option.help)
    yield _panel("Options", options)
    commands = _table()
    commands.add_column(style="bold cyan", no_wrap=True)
    commands.add_column(ratio=1)
    for member, line in members(group).items():
        commands.add_row(member, _words(line))
    yield _panel("Commands", commands)
    yield ""


def _table() -> Table:
    return Table(box=None, show_header=False, expand=True, pad_edge=False, padding=(0, 1))


def _panel(title: str, table: Table) -> Panel:
    return Panel(table, title=title, title_align="left", border_style="dim")


def _words(line: str) -> Text:
    """Return a line in which text between backticks is shown as code."""
    return Text.assemble(*((part, "bold cyan" if place % 2 else "") for place, part in enumerate(_CODE.split(line))))
