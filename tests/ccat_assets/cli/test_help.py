"""`--help` of every command says all that its arguments and options are described by."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ccat_assets.cli.app import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[Any]:
    for name, command in group.commands.items():
        here = (*path, name)
        yield pytest.param(here, command, id=" ".join(here))
        yield from commands(command, here) if hasattr(command, "commands") else ()


def words(text: str) -> str:
    return re.sub(r"[`│\s]", "", text)


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_numbers_are_bounded(path: tuple[str, ...], command: Any) -> None:
    for parameter in command.params:
        if parameter.type_descriptor.annotation in (int, list[int], float):
            assert parameter.min is not None, f"{path}: {parameter.name}"
            assert parameter.max is not None, f"{path}: {parameter.name}"
            assert parameter.max < 2**63, f"{path}: {parameter.name}"


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_help_shows_each_description_whole(path: tuple[str, ...], command: Any) -> None:
    found = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "1000", "TERMINAL_WIDTH": "1000"})
    assert found.exit_code == 0, found.exception
    said = words(found.output)
    for text in [command.help, *(parameter.help for parameter in command.params)]:
        assert words(text) in said
