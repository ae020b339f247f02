"""Options and arguments that several commands share, with the same texts and bounds."""

from typing import Any

import typer

PRODUCT = "A product's number, PIPELINE/STEP[/SUB_GROUP[/PATH]] or run:ID."
MOST = 10**9  # rows of a list; sums of such limits still fit into the integers of any database
LAST = 2**63 - 1  # the highest number of a row


def at_most(text: str, *, least: int = 1, **more: Any) -> Any:
    """Return the option for the number of rows of a list."""
    return typer.Option(min=least, max=MOST, help=text, **more)


def number(text: str, *, least: int = 1, most: int = LAST) -> Any:
    """Return the option for one number; by default the number of a row."""
    return typer.Option(min=least, max=most, help=text)


def numbers(text: str) -> Any:
    """Return the argument for the numbers of rows."""
    return typer.Argument(min=1, max=LAST, help=text)
