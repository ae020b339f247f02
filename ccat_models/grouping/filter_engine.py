from collections.abc import Sequence

import sqlalchemy as sa

from ccat_models.grouping.join_graph import Joins, package_graph
from ccat_models.grouping.rules import CheckedRule
from ccat_models.tables.base import PackageId
from ccat_models.tables.raw_data import RawDataPackage


def packages_matching(
    rules: Sequence[CheckedRule], instrument_module_id: int | None = None
) -> sa.Select[tuple[PackageId]]:
    """Return a query for the ids of the packages that satisfy all rules, optionally of one instrument module only."""
    joins = Joins(package_graph())
    conditions = add_rules(joins, rules, instrument_module_id)
    return sa.select(RawDataPackage.id).select_from(joins.from_clause()).where(*conditions)


def add_rules(
    joins: Joins, rules: Sequence[CheckedRule], instrument_module_id: int | None = None
) -> list[sa.ColumnElement[bool]]:
    """Add the joins that the rules need; return the SQL conditions, which are to be joined by AND."""
    graph = package_graph()
    conditions: list[sa.ColumnElement[bool]] = []
    for rule in rules:
        if rule.table not in graph.parts:
            joins.require(rule.table)
            conditions.append(rule.condition())
    for table, edge in graph.parts.items():
        of_part = [rule.condition() for rule in rules if rule.table == table]
        if of_part:
            some = sa.select(sa.literal(1)).select_from(edge.end).where(edge.on, *of_part)
            conditions.append(some.correlate(RawDataPackage).exists())
    if instrument_module_id is not None:
        conditions.append(RawDataPackage.instrument_module_id == instrument_module_id)
    return conditions
