"""The column types migrations write; they stay as they are, whatever becomes of the models' types."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

# SQLite counts rows by itself only in a column whose type reads INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
UTC = sa.DateTime(timezone=True)


def one_of(name: str, *choices: str) -> sa.Enum:
    """Return a column type of text that the database keeps to the choices."""
    return sa.Enum(*choices, name=name, native_enum=False, create_constraint=True, length=32)
