"""How long the texts may be that people write beside their decisions, on every database."""

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from ccat_models.errors import InvalidDeclaration

_SHOWN = 40  # characters of what is too long


def check_fits(place: str, text: str, column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]) -> None:
    """Raise InvalidDeclaration for a text that is longer than its column; SQLite by itself would take it."""
    kind = column.type
    if isinstance(kind, sa.String) and kind.length is not None and len(text) > kind.length:
        shown = f"{text[:_SHOWN]!r}…"
        raise InvalidDeclaration(f"{place}: has {len(text)} characters, at most {kind.length} are kept: {shown}")
