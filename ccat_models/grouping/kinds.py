import enum
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ccat_models.grouping.portable_sql import JsonBoolean, JsonNumber, JsonPath, JsonText

MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Kind:
    """The kind of values a column holds; `read` turns a rule's value into one and raises ValueError for any other."""

    name: str
    read: Callable[[object], object]
    ordered: bool = True
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Return what a rule may write, for error messages."""
        return f"one of {', '.join(self.choices)}" if self.choices else self.name


def kind_of(column: sa.Column[Any]) -> Kind | None:
    """Return the kind of a column's values; None for JSON, whose kind depends on the path."""
    stored = column.type
    if isinstance(stored, sa.JSON):
        return None
    if isinstance(stored, sa.Enum):
        members = {str(member.value): member for member in stored.python_type}
        return Kind("text", _reader_of_choices(members), ordered=False, choices=tuple(members))
    plain = stored.impl_instance if isinstance(stored, sa.types.TypeDecorator) else stored
    return _KINDS[plain.python_type]


def json_kind(value: object) -> Kind | None:
    """Return the kind of a value that is compared with a value inside JSON; None if it cannot be compared."""
    if isinstance(value, bool):
        return TRUTH
    if isinstance(value, int | float):
        return REAL_NUMBER
    return TEXT if isinstance(value, str) else None


def json_value(column: sa.Column[Any], path: tuple[str, ...], kind: Kind) -> sa.ColumnElement[Any]:
    """Return the value at a path of a JSON column as SQL; NULL if it is missing or of another kind."""
    functions = {TRUTH: JsonBoolean, REAL_NUMBER: JsonNumber, TEXT: JsonText}
    return functions[kind](column, sa.bindparam(None, path, JsonPath()))


def _read_text(value: object) -> object:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    value.encode()  # databases refuse lone surrogates; a UnicodeEncodeError is a ValueError
    return value


def _read_whole_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise ValueError(value)
    return value


def _read_real_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return _read_whole_number(value) if isinstance(value, int) else value


def _read_truth(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - every reader refuses in the same way
    return value


def _read_moment(value: object) -> object:
    moment = datetime.fromisoformat(str(_read_text(value)))
    if moment.tzinfo is None:
        raise ValueError(value)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(value) from error


def _read_uuid(value: object) -> object:
    return uuid.UUID(str(_read_text(value)))


def _reader_of_choices(members: dict[str, enum.Enum]) -> Callable[[object], object]:
    def read(value: object) -> object:
        if not isinstance(value, str) or value not in members:
            raise ValueError(value)
        return members[value]

    return read


TEXT = Kind("text", _read_text)
WHOLE_NUMBER = Kind("a whole number of at most 63 bits", _read_whole_number)
REAL_NUMBER = Kind("a number", _read_real_number)
TRUTH = Kind("true or false", _read_truth, ordered=False)
MOMENT = Kind("a time with its zone, e.g. 2026-03-01T00:00:00Z", _read_moment)
UUID = Kind("a UUID", _read_uuid, ordered=False)

_KINDS: dict[type, Kind] = {
    str: TEXT,
    int: WHOLE_NUMBER,
    float: REAL_NUMBER,
    bool: TRUTH,
    datetime: MOMENT,
    uuid.UUID: UUID,
}
