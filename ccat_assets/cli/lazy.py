"""Groups of commands that import a command's module when that command is wanted, and not before."""

import gc
from collections import UserDict
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer._click.shell_completion import CompletionItem
from typer.core import TyperGroup

from ccat_assets.cli.commands import GROUPS, HELP_OPTIONS, WITHOUT_COMMAND, function_of, members

_LOOK: dict[str, Any] = {
    "rich_markup_mode": "markdown",  # square brackets mark what may be left out
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": list(HELP_OPTIONS)},
}


class _Members(UserDict[str, Any]):
    """The commands of a group by their names; each is made when it is first asked for."""

    def __init__(self, group: str) -> None:
        super().__init__(dict.fromkeys(members(group)))
        self._group = group

    def __getitem__(self, name: str) -> Any:
        """Return a command, imported now if it was not yet."""
        if self.data[name] is None:
            path = f"{self._group} {name}".lstrip()
            self.data[name] = typer.main.get_command(group_app(path) if path in GROUPS else _command_app(path))
            gc.freeze()  # what is imported is never garbage; searching it, also at exit, takes long
        gc.enable()
        return self.data[name]


class _LazyGroup(TyperGroup):
    """A group whose help, and whose names in a shell's completion, need none of its commands."""

    group: ClassVar[str]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Members(self.group)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help from the table of commands; where the group has options of its own, Typer does."""
        if self.group in WITHOUT_COMMAND:
            super().format_help(ctx, formatter)
        else:
            from ccat_assets.cli.help import print_help

            print_help(self.group)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so; the commands' help is the table's."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=line) for name, line in members(self.group).items() if name.startswith(incomplete)
        ]


def group_app(group: str, callback: Callable[..., Any] | None = None) -> typer.Typer:
    """Return a group, `` for `ccat` itself; its own options are those of the callback."""
    alone = WITHOUT_COMMAND.get(group)
    app = typer.Typer(
        cls=type("Group", (_LazyGroup,), {"group": group}),
        help=GROUPS[group],
        no_args_is_help=alone is None,
        invoke_without_command=alone is not None,
        add_completion=not group,
        **_LOOK,
    )
    app.callback()(callback or (function_at(alone) if alone else _nothing))
    return app


def _nothing() -> None:
    pass


def _command_app(path: str) -> typer.Typer:
    app = typer.Typer(add_completion=False, **_LOOK)
    app.command(path.rpartition(" ")[2])(function_at(function_of(path)))
    return app


def function_at(place: str) -> Callable[..., Any]:
    """Return the function at a place: module in this folder:function."""
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"ccat_assets.cli.{module}"), name)
    return function
