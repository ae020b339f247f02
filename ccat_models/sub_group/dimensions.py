from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.join_graph import package_graph
from ccat_models.grouping.portable_sql import UtcText
from ccat_models.tables.base import UtcDateTime
from ccat_models.tables.pipelines import Partitioning, SubGroup

_MOMENT, _DATE, _MONTH = len("2026-03-01T23:59:59.000000Z"), len("2026-03-01"), len("2026-03")
_WHOLE_NUMBER = len(str(-(2**63)))


@dataclass(frozen=True)
class Dimension:
    """A property by which packages are divided into sub-groups: each package has at most one value of it.

    It is a column; of a time, only the first `length` characters of its text are used.
    """

    name: str
    table: str
    column: sa.Column[Any]
    length: int

    def text(self) -> sa.ColumnElement[str]:
        """Return the value as text, written alike by every database; NULL if there is none."""
        kind = self.column.type
        if isinstance(kind, UtcDateTime):
            return UtcText(self.column, sa.literal_column(str(self.length)))
        if isinstance(kind, sa.Boolean):
            return sa.case((self.column.is_(True), sa.literal("true")), (self.column.is_(False), sa.literal("false")))
        if isinstance(kind, sa.Integer):
            return sa.cast(self.column, sa.Text)
        return sa.type_coerce(self.column, sa.Text)

    def text_length(self) -> sa.ColumnElement[str]:
        """Return the number of characters of the text, as text."""
        if isinstance(self.column.type, UtcDateTime):  # always the same, and formatting a time is slow
            return sa.literal(str(self.length))
        return sa.cast(sa.func.length(self.text()), sa.Text)


_MOMENTS: Mapping[str, tuple[str, int]] = {
    "obs_date": ("ExecutedObsUnit.start_time", _DATE),
    "obs_month": ("ExecutedObsUnit.start_time", _MONTH),
}

OBSERVATIONS = ("executed_obs_unit",)  # a sub-group for each observation

# Short name of a dimension → its column.
REGISTERED: Mapping[str, str] = {
    "executed_obs_unit": "ExecutedObsUnit.name",
    "obs_unit": "ObsUnit.name",
    "source": "Source.name",
    "line": "Line.id",
    "instrument": "Instrument.name",
    "instrument_module": "InstrumentModule.name",
    "obs_mode": "ObsMode.name",
    "observing_program": "ObservingProgram.short_name",
    "sub_observing_program": "SubObservingProgram.short_name",
    **{name: column for name, (column, _) in _MOMENTS.items()},
}


def validate_dimensions(names: Sequence[str]) -> list[Dimension]:
    """Return the dimensions with these names, each a short name or Table.column.

    Raises InvalidDeclaration for the first that is unknown, repeated or unfit to divide the data.
    """
    dimensions: list[Dimension] = []
    for index, name in enumerate(names):
        place = f"group_by[{index}]"
        found = _dimension(name, place)
        for other in dimensions:
            if (other.column, other.length) == (found.column, found.length):
                raise InvalidDeclaration(f"{place}: {name!r} is the same as {other.name!r}, which comes before it")
        dimensions.append(found)
    _check_lengths(dimensions)
    return dimensions


def natural_key(dimensions: Sequence[Dimension]) -> sa.ColumnElement[str]:
    """Return the values as one text, unique to them: `n` for each NULL, else the length, a colon and the value."""
    key: sa.ColumnElement[str] = sa.literal("", sa.Text)
    for dimension in dimensions:
        text = dimension.text()
        part = sa.func.coalesce(dimension.text_length().concat(":").concat(text), sa.literal("n"))
        key = part if dimension is dimensions[0] else key.concat(part)
    return key


def _dimension(name: str, place: str) -> Dimension:
    table, dot, column_name = REGISTERED.get(name, name).partition(".")
    graph = package_graph()
    if not dot:
        choices = ", ".join(REGISTERED)
        raise InvalidDeclaration(f"{place}: no dimension {name!r}; choose from: {choices}, or name Table.column")
    column = graph.column(table, column_name, place)
    if table in graph.parts:
        raise InvalidDeclaration(f"{place}: a package has many of {table}, so {name!r} does not name one sub-group")
    length = _MOMENTS[name][1] if name in _MOMENTS else _longest(column)
    if length is None:
        what = "choose a column of whole numbers, true or false, times, or text of limited length"
        raise InvalidDeclaration(f"{place}: {name!r} cannot be a dimension; {what}")
    return Dimension(name, table, column, length)


def _longest(column: sa.Column[Any]) -> int | None:
    """Return the greatest number of characters of a column's values; None for columns that cannot be dimensions."""
    kind = column.type
    if isinstance(kind, UtcDateTime):
        return _MOMENT
    if isinstance(kind, sa.Boolean):
        return len("false")
    if isinstance(kind, sa.Integer):
        return _WHOLE_NUMBER
    return kind.length if isinstance(kind, sa.String) else None


def _check_lengths(dimensions: Sequence[Dimension]) -> None:
    names = "+".join(dimension.name for dimension in dimensions)
    values = sum(len(f"{dimension.length}:") + dimension.length for dimension in dimensions)
    if len(names) > _limit(Partitioning, "group_by") or values > _limit(SubGroup, "natural_key"):
        raise InvalidDeclaration(f"group_by: too many dimensions: {names}")


def _limit(mapped: type[Any], column: str) -> int:
    length: int = sa.inspect(mapped).columns[column].type.length
    return length
