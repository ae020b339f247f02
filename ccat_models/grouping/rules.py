import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError

from ccat_models.errors import InvalidDeclaration
from ccat_models.grouping.join_graph import package_graph
from ccat_models.grouping.kinds import TEXT, Kind, json_kind, json_value, kind_of
from ccat_models.grouping.operators import OPERATORS, Operator

MAX_LIST = 10_000
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 80


class FilterRule(BaseModel):
    """One condition on one column of one table; the rules of a grouping are joined by AND.

    A missing value satisfies no operator, not even `neq` and `not_in`. All rules on RawDataFile must hold for the same
    file: a package is selected if it has at least one such file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    column: str
    operator: str
    value: Any
    json_path: str | None = None


@dataclass(frozen=True)
class CheckedRule:
    """A rule whose table, column and operator were looked up. Its value and JSON path are bound parameters."""

    table: str
    column: sa.Column[Any]
    operator: Operator
    value: Any
    kind: Kind
    json_path: tuple[str, ...] = ()

    def condition(self) -> sa.ColumnElement[bool]:
        """Return the rule as an SQL condition."""
        column = json_value(self.column, self.json_path, self.kind) if self.json_path else self.column
        return self.operator.condition(column, self.value)


def validate_rules(rules: Sequence[Any]) -> list[CheckedRule]:
    """Return the checked rules; each is a FilterRule or a mapping with its fields.

    Raises InvalidDeclaration for the first rule that is malformed, names something unknown, or has a value of a wrong
    kind.
    """
    return [_checked(_parsed(rule, f"rules[{index}]"), f"rules[{index}]") for index, rule in enumerate(rules)]


def _parsed(rule: Any, place: str) -> FilterRule:
    if isinstance(rule, FilterRule):
        return rule
    if not isinstance(rule, dict):
        raise InvalidDeclaration(f"{place}: expected a mapping of table, column, operator and value, not {_show(rule)}")
    try:
        return FilterRule.model_validate(rule)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (place, *first["loc"]))
        choices = ", ".join(FilterRule.model_fields)
        raise InvalidDeclaration(f"{where}: {first['msg']}; a rule has {choices}") from error


def _checked(rule: FilterRule, place: str) -> CheckedRule:
    column = package_graph().column(rule.table, rule.column, place)
    operator = OPERATORS.get(rule.operator)
    if operator is None:
        choices = ", ".join(OPERATORS)
        raise InvalidDeclaration(f"{place}.operator: no operator {rule.operator!r}; choose from: {choices}")
    values = _values(rule, operator, place)
    path, kind = _path_and_kind(rule, column, values[0], place)
    _check_fit(operator, kind, f"{rule.table}.{rule.column}", place)
    read = [_read(kind, value, place) for value in values]
    if operator.text_only and _ends_in_open_escape(str(read[0])):
        raise InvalidDeclaration(f"{place}.value: {_show(rule.value)} ends in a backslash that nothing follows")
    return CheckedRule(rule.table, column, operator, read if operator.takes_list else read[0], kind, path)


def _values(rule: FilterRule, operator: Operator, place: str) -> list[Any]:
    if not operator.takes_list:
        return [rule.value]
    if not isinstance(rule.value, list | tuple) or not 0 < len(rule.value) <= MAX_LIST:
        what = f"{operator.name} takes a list of 1 to {MAX_LIST} values, not {_show(rule.value)}"
        raise InvalidDeclaration(f"{place}.value: {what}")
    return list(rule.value)


def _path_and_kind(rule: FilterRule, column: sa.Column[Any], value: Any, place: str) -> tuple[tuple[str, ...], Kind]:
    kind, name = kind_of(column), f"{rule.table}.{rule.column}"
    if kind is not None:
        if rule.json_path is not None:
            raise InvalidDeclaration(f"{place}.json_path: {name} holds {kind.expected}, not JSON; leave json_path out")
        return (), kind
    if rule.json_path is None:
        raise InvalidDeclaration(f"{place}.json_path: {name} holds JSON; name the value in it, e.g. observation.mode")
    path = tuple(rule.json_path.split("."))
    if not all(_SEGMENT.fullmatch(segment) for segment in path):
        what = f"{_show(rule.json_path)} is no path; write keys of letters, digits, _ and - joined by dots"
        raise InvalidDeclaration(f"{place}.json_path: {what}")
    kind = json_kind(value)
    if kind is None:
        raise InvalidDeclaration(f"{place}.value: expected text, a number, true or false, not {_show(value)}")
    return path, kind


def _check_fit(operator: Operator, kind: Kind, name: str, place: str) -> None:
    fits = [
        one.name
        for one in OPERATORS.values()
        if (kind.ordered or not one.ordered) and (kind is TEXT or not one.text_only)
    ]
    if operator.name not in fits:
        what = f"{operator.name} does not apply to {name}, which holds {kind.expected}"
        raise InvalidDeclaration(f"{place}.operator: {what}; choose from: {', '.join(fits)}")


def _read(kind: Kind, value: Any, place: str) -> object:
    try:
        return kind.read(value)
    except ValueError as error:
        raise InvalidDeclaration(f"{place}.value: expected {kind.expected}, not {_show(value)}") from error


def _ends_in_open_escape(pattern: str) -> bool:
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
