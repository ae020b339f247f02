"""The command line `ccat`."""

from typing import Annotated

import typer

from ccat_assets.cli.commands import VERSION_OPTION
from ccat_assets.cli.lazy import group_app


def _version(wanted: bool) -> None:
    if wanted:
        from ccat_assets.cli.version import version

        typer.echo(version())
        raise typer.Exit


def _ccat(
    _wanted: Annotated[
        bool, typer.Option(VERSION_OPTION.name, callback=_version, is_eager=True, help=VERSION_OPTION.help)
    ] = False,
) -> None:
    pass


app = group_app("", _ccat)
