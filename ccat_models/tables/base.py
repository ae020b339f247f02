import enum
from datetime import UTC, datetime
from typing import Any, ClassVar, NewType

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

PackageId = NewType("PackageId", int)
SubGroupId = NewType("SubGroupId", int)
StepId = NewType("StepId", int)
RunId = NewType("RunId", int)
AttemptId = NewType("AttemptId", int)
ProductId = NewType("ProductId", int)

# SQLite numbers rows automatically only in a column whose type is spelled INTEGER.
BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_DIGITS = 18  # every number with at most so many digits fits into BIG_ID


class _Jsonb(sa.JSON):
    """PostgreSQL's jsonb, without importing its dialect where the database is SQLite."""

    __visit_name__ = "JSONB"


JSON = sa.JSON(none_as_null=True).with_variant(_Jsonb(none_as_null=True), "postgresql")


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC; naive times (without a zone) are refused when stored and never returned."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time in UTC, on SQLite without its zone, because SQLite stores none.

        Raises ValueError for a naive time.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value.isoformat()}: every time must carry its zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time with the zone UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def stored_enum(kind: type[enum.Enum]) -> sa.Enum:
    """Return a column type that stores the members' values; the database refuses all others."""
    return sa.Enum(
        kind,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=True,
        validate_strings=True,
        length=32,
        name=kind.__name__.lower(),
    )


def total(amount: sa.SQLColumnExpression[int]) -> sa.ColumnElement[int]:
    """Return the sum of amounts as a bigint, 0 if there are none; PostgreSQL's sum of bigint would be numeric."""
    return sa.cast(sa.func.coalesce(sa.func.sum(amount), 0), sa.BigInteger)


def number_in(text: str) -> int | None:
    """Return the number of a row from a text; None if the text is no number, or larger than any row's number."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


class Base(DeclarativeBase):
    """All tables of ops-db."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        list[str]: JSON,
        PackageId: BIG_ID,
        SubGroupId: BIG_ID,
        StepId: BIG_ID,
        RunId: BIG_ID,
        AttemptId: BIG_ID,
        ProductId: BIG_ID,
    }
