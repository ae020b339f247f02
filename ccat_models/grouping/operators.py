from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ccat_models.grouping.portable_sql import ByCodePoint, GlobOrLike, Matches


@dataclass(frozen=True)
class Operator:
    """An operator of a filter rule: the SQL condition it makes of a column and a value.

    `ordered` operators apply to columns whose values have an order, `text_only` ones to text; `takes_list` ones take a
    list of values.
    """

    name: str
    condition: Callable[[sa.ColumnElement[Any], Any], sa.ColumnElement[bool]]
    takes_list: bool = False
    ordered: bool = False
    text_only: bool = False


def _comparable(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[Any]:
    return ByCodePoint(column) if isinstance(value, str) else column


_ALL = (
    Operator("eq", lambda column, value: column == value),
    Operator("neq", lambda column, value: column != value),
    Operator("in", lambda column, values: column.in_(values), takes_list=True),
    Operator("not_in", lambda column, values: column.not_in(values), takes_list=True),
    Operator("gt", lambda column, value: _comparable(column, value) > value, ordered=True),
    Operator("gte", lambda column, value: _comparable(column, value) >= value, ordered=True),
    Operator("lt", lambda column, value: _comparable(column, value) < value, ordered=True),
    Operator("lte", lambda column, value: _comparable(column, value) <= value, ordered=True),
    Operator("like", lambda column, value: Matches(column, sa.bindparam(None, value, GlobOrLike())), text_only=True),
)

# A missing value (NULL, or no such path in a JSON column) satisfies no operator, `neq` and `not_in` included.
OPERATORS: Mapping[str, Operator] = {operator.name: operator for operator in _ALL}
