from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from ccat_models.errors import InvalidDeclaration
from ccat_models.tables import import_all
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage

# Where two equally short paths lead to a table: its name → the last foreign key ("Table.column") of the path to take.
# A new foreign key that makes a path ambiguous stops the graph from being built until a path is chosen here.
PREFERRED: Mapping[str, str] = {}


@dataclass(frozen=True)
class Edge:
    """One join from a table to another; `optional` if a row may have no counterpart."""

    start: type[DeclarativeBase]
    end: type[DeclarativeBase]
    foreign_key: str
    on: sa.ColumnElement[bool]
    optional: bool


@dataclass(frozen=True)
class JoinGraph:
    """How each table is reached from the root table.

    `paths` leads to tables with at most one row for each root row, `parts` to tables with many.
    """

    root: type[DeclarativeBase]
    paths: Mapping[str, tuple[Edge, ...]]
    parts: Mapping[str, Edge]

    @property
    def tables(self) -> dict[str, type[DeclarativeBase]]:
        """Return every table that a rule may name, by the name of its class."""
        one = {self.root.__name__: self.root} | {name: path[-1].end for name, path in self.paths.items() if path}
        return dict(sorted((one | {name: edge.end for name, edge in self.parts.items()}).items()))

    def columns(self, table: str) -> dict[str, sa.Column[Any]]:
        """Return the columns of a table, inherited ones included, by their names in the database."""
        return {column.name: column for column in sa.inspect(self.tables[table]).columns}

    def column(self, table: str, column: str, place: str) -> sa.Column[Any]:
        """Return a column by table and name.

        Raises InvalidDeclaration with `place` and the known names for an unknown table or column.
        """
        if table not in self.tables:
            raise InvalidDeclaration(f"{place}.table: no table {table!r}; choose from: {', '.join(self.tables)}")
        columns = self.columns(table)
        if column not in columns:
            choices = ", ".join(sorted(columns))
            raise InvalidDeclaration(f"{place}.column: no column {column!r} in {table}; choose from: {choices}")
        return columns[column]


class Joins:
    """The tables that one query needs, each joined once."""

    def __init__(self, graph: JoinGraph) -> None:
        self._graph = graph
        self._outer: dict[Edge, bool] = {}

    def require(self, table: str) -> None:
        """Join a table and drop the root rows that have no row in it."""
        for edge in self._graph.paths[table]:
            self._outer[edge] = False

    def allow(self, table: str) -> None:
        """Join a table and keep all root rows: without a counterpart, the table's columns are NULL."""
        outer = False
        for edge in self._graph.paths[table]:
            outer = self._outer.setdefault(edge, outer or edge.optional)

    def from_clause(self) -> sa.FromClause:
        """Return the root table with all joins."""
        clause: sa.FromClause = _table(self._graph.root)
        for edge, outer in self._outer.items():
            clause = clause.join(_table(edge.end), edge.on, isouter=outer)
        return clause


@cache
def package_graph() -> JoinGraph:
    """Return the graph around RawDataPackage: what a package is, not what was done with it."""
    import_all()
    return build_graph(RawDataPackage, parts={RawDataFile: RawDataFile.of_today()}, preferred=PREFERRED)


def build_graph(
    root: type[DeclarativeBase],
    *,
    parts: Mapping[type[DeclarativeBase], sa.ColumnElement[bool]] | None = None,
    preferred: Mapping[str, str],
) -> JoinGraph:
    """Return the shortest paths from the root along foreign keys, many-to-one and into subclasses.

    `parts` are tables that refer to the root, each with the condition on which a row belongs to it. `preferred` chooses
    between equally short paths (see `PREFERRED`). Raises ValueError if it does not.
    """
    edges = _edges(root)
    paths: dict[str, tuple[Edge, ...]] = {root.__name__: ()}
    frontier = [root]
    while frontier:
        found_paths: dict[type[DeclarativeBase], list[tuple[Edge, ...]]] = defaultdict(list)
        for table in frontier:
            for edge in edges[table]:
                if edge.end.__name__ not in paths:
                    found_paths[edge.end].append((*paths[table.__name__], edge))
        paths |= {table.__name__: _one_path(table, found, preferred) for table, found in found_paths.items()}
        frontier = list(found_paths)
    conditions = {} if parts is None else parts
    to_root = {part: edge for part in conditions for edge in edges[part] if edge.end is root}
    return JoinGraph(
        root,
        paths,
        {
            part.__name__: Edge(root, part, edge.foreign_key, conditions[part], optional=True)
            for part, edge in to_root.items()
        },
    )


def _one_path(
    table: type[DeclarativeBase], found_paths: list[tuple[Edge, ...]], preferred: Mapping[str, str]
) -> tuple[Edge, ...]:
    if len(found_paths) > 1:
        chosen = [path for path in found_paths if path[-1].foreign_key == preferred.get(table.__name__)]
        if len(chosen) != 1:
            keys = ", ".join(path[-1].foreign_key for path in found_paths)
            raise ValueError(f"{table.__name__} has equally short paths by {keys}: choose one in PREFERRED")
        return chosen[0]
    return found_paths[0]


def _edges(root: type[DeclarativeBase]) -> dict[type[DeclarativeBase], list[Edge]]:
    mappers = sorted((m for m in root.registry.mappers if not m.single), key=lambda mapper: mapper.class_.__name__)
    by_table = {mapper.local_table: mapper for mapper in mappers}
    edges: dict[type[DeclarativeBase], list[Edge]] = defaultdict(list)
    for mapper in mappers:
        for key in sorted(_single_column_keys(_table(mapper.class_)), key=lambda key: key.parent.name):
            other = by_table[key.column.table]
            start, end, optional = mapper.class_, other.class_, bool(key.parent.nullable)
            if key.parent.primary_key and mapper.inherits is other:  # from parent to subclass
                start, end, optional = end, start, True
            name = f"{mapper.class_.__name__}.{key.parent.name}"
            edges[start].append(Edge(start, end, name, key.parent == key.column, optional))
    return edges


def _single_column_keys(table: sa.Table) -> list[sa.ForeignKey]:
    return [constraint.elements[0] for constraint in table.foreign_key_constraints if len(constraint.elements) == 1]


def _table(mapped: type[DeclarativeBase]) -> sa.Table:
    table = sa.inspect(mapped).local_table
    assert isinstance(table, sa.Table)
    return table
