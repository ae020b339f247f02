"""What several commands take in the same words and within the same bounds."""

from typing import Any

import typer

PRODUCT = "A product's number, PIPELINE/STEP[/SUB_GROUP[/PATH]] or run:ID."
MOST = 10**9  # rows that a list may have: one more, or thousands of such limits, are still a number to any database
LAST = 2**63 - 1  # the highest number that a row may have


def at_most(text: str, *, least: int = 1, **more: Any) -> Any:
    """Return the option of how many rows a list has."""
    return typer.Option(min=least, max=MOST, help=text, **more)


def number(text: str, *, least: int = 1, most: int = LAST) -> Any:
    """Return the option that is one number, of a row if nothing else is said."""
    return typer.Option(min=least, max=most, help=text)


def numbers(text: str) -> Any:
    """Return the argument that is numbers of rows."""
    return typer.Argument(min=1, max=LAST, help=text)
