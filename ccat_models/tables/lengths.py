"""The greatest lengths of texts that users give with their decisions, checked on every database."""

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from ccat_models.errors import InvalidDeclaration

_SHOWN = 40  # characters of a text that is too long


def check_fits(place: str, text: str, column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]) -> None:
    """Raise InvalidDeclaration, naming `place`, for a text longer than its column; SQLite alone would accept it."""
    kind = column.type
    if isinstance(kind, sa.String) and kind.length is not None and len(text) > kind.length:
        shown = f"{text[:_SHOWN]!r}…"
        raise InvalidDeclaration(f"{place}: has {len(text)} characters, at most {kind.length} are allowed: {shown}")
