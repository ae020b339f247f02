"""What data may be chosen and cut by, and the tables of ops-db."""

import re
from typing import Any

import sqlalchemy as sa

from ccat_models.grouping.operators import OPERATORS
from ccat_models.grouping.presets import PRESETS
from ccat_models.sub_group.dimensions import REGISTERED
from ccat_models.tables import Base
from tools.reference.markdown import Undocumented, code, documented, section, table


def operators_page() -> str:
    """Return the operators of filter rules and what each is for."""
    rows = []
    for operator in OPERATORS.values():
        columns = "text" if operator.text_only else "values with an order" if operator.ordered else "any"
        rows.append((code(operator.name), columns, "a list" if operator.takes_list else "one value"))
    return table(["operator", "for columns of", "takes"], rows)


def presets_page() -> str:
    """Return the presets of filter rules and the values that they need."""
    rows = ((code(p.name), ", ".join(map(code, p.placeholders)), p.description) for p in PRESETS.values())
    return table(["preset", "values", "chooses"], rows)


def dimensions_page() -> str:
    """Return the short names of dimensions and the columns they stand for."""
    return table(["dimension", "column"], ((code(name), code(column)) for name, column in REGISTERED.items()))


def tables_page() -> str:
    """Return the tables of ops-db with their columns; raise Undocumented where a mapped class has no docstring."""
    missing: list[str] = []
    mapped = sorted((mapper.class_ for mapper in Base.registry.mappers), key=lambda one: one.__name__)
    parts = [_table(one, missing) for one in mapped]
    if missing:
        raise Undocumented(missing)
    return "\n".join(parts)


def _table(mapped: type[Base], missing: list[str]) -> str:
    name, own = mapped.__name__, mapped.__table__
    rows = []
    for column in own.columns:
        target = ", ".join(code(key.target_fullname) for key in column.foreign_keys)
        rows.append((code(column.name), _type_name(column), "" if column.nullable else "yes", target))
    words = documented(mapped.__doc__, f"table {name}", missing)
    columns = table(["column", "type", "always there", "refers to"], rows)
    return section(2, f"{name}: {code(mapped.__tablename__)}", words, columns, name=f"table-{name}".lower())


def _type_name(column: sa.ColumnElement[Any]) -> str:
    return re.sub(r"\(.*\)", "", type(column.type).__name__)
