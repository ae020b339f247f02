"""The column types that migrations use; they never change, even if the models' types do."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

# SQLite numbers rows automatically only in a column whose type is spelled INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
UTC = sa.DateTime(timezone=True)


def one_of(name: str, *choices: str) -> sa.Enum:
    """Return a text column type; the database refuses other values than the choices."""
    return sa.Enum(*choices, name=name, native_enum=False, create_constraint=True, length=32)
