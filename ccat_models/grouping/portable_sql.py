from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ccat_models.tables.base import UtcDateTime


class GlobOrLike(sa.types.TypeDecorator[str]):
    r"""A pattern of `%` (any text), `_` (one character) and `\` (takes the next character literally).

    SQLite's LIKE ignores case, PostgreSQL's does not; SQLite's GLOB has the same meaning in another spelling.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Return the pattern as the database spells it."""
        return glob(value) if value is not None and dialect.name == "sqlite" else value


def glob(pattern: str) -> str:
    """Return a LIKE pattern in SQLite's GLOB spelling."""
    spelled, characters = [], iter(pattern)
    for character in characters:
        if character in "%_":
            spelled.append("*" if character == "%" else "?")
            continue
        plain = next(characters) if character == "\\" else character
        spelled.append(f"[{plain}]" if plain in "*?[" else plain)
    return "".join(spelled)


class JsonPath(sa.types.TypeDecorator[tuple[str, ...]]):
    """A list of object keys that leads into a JSON value, bound as the JSON path text of each database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str:
        """Return the path; strict, because PostgreSQL would otherwise look into arrays."""
        path = "$" + "".join(f'."{segment}"' for segment in value or ())
        return path if dialect.name == "sqlite" else f"strict {path}"


class _PortableFunction(FunctionElement[Any]):
    """SQL with one meaning and a spelling for each database; each subclass must set `inherit_cache` itself."""

    inherit_cache = True


class JsonNumber(_PortableFunction):
    """The number at a path of a JSON column; NULL if the path is missing or holds something else."""

    inherit_cache = True
    type = sa.Numeric(asdecimal=False)


class JsonText(_PortableFunction):
    """The text at a path of a JSON column; NULL if the path is missing or holds something else."""

    inherit_cache = True
    type = sa.Text()


class JsonBoolean(_PortableFunction):
    """The truth value at a path of a JSON column; NULL if the path is missing or holds something else."""

    inherit_cache = True
    type = sa.Boolean()


_JSON_TYPES: dict[type[_PortableFunction], tuple[str, str, str]] = {  # SQLite's types, PostgreSQL's type and cast
    JsonNumber: ("'integer', 'real'", "number", "NUMERIC"),
    JsonText: ("'text'", "string", "TEXT"),
    JsonBoolean: ("'true', 'false'", "boolean", "BOOLEAN"),
}


@compiles(JsonNumber, "sqlite")
@compiles(JsonText, "sqlite")
@compiles(JsonBoolean, "sqlite")
def _json_value_sqlite(element: _PortableFunction, compiler: SQLCompiler, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    types, _, _ = _JSON_TYPES[type(element)]
    return f"CASE WHEN json_type({value}) IN ({types}) THEN json_extract({value}) END"


@compiles(JsonNumber, "postgresql")
@compiles(JsonText, "postgresql")
@compiles(JsonBoolean, "postgresql")
def _json_value_postgresql(element: _PortableFunction, compiler: SQLCompiler, **options: Any) -> str:
    column, path = (compiler.process(clause, **options) for clause in element.clauses)
    found = f"jsonb_path_query_first({column}, CAST({path} AS JSONPATH), '{{}}', TRUE)"
    _, kind, cast = _JSON_TYPES[type(element)]
    return f"CASE WHEN jsonb_typeof({found}) = '{kind}' THEN CAST({found} #>> '{{}}' AS {cast}) END"


class ByCodePoint(_PortableFunction):
    """A text that is compared by code point on both databases; PostgreSQL would use the database's language."""

    inherit_cache = True
    type = sa.Text()


@compiles(ByCodePoint)
def _by_code_point(element: ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(ByCodePoint, "postgresql")
def _by_code_point_postgresql(element: ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'


class Matches(_PortableFunction):
    """Whether a text matches a pattern; upper and lower case differ."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(Matches, "sqlite")
def _matches_sqlite(element: Matches, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} GLOB {pattern})"


@compiles(Matches, "postgresql")
def _matches_postgresql(element: Matches, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} LIKE {pattern} ESCAPE '\\')"


class LaterBy(_PortableFunction):
    """A time plus a number of whole seconds."""

    inherit_cache = True
    type = UtcDateTime()


@compiles(LaterBy, "sqlite")
def _later_by_sqlite(element: LaterBy, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's date functions know milliseconds only: the fraction of the second is copied as text.
    moment, seconds = (compiler.process(clause, **options) for clause in element.clauses)
    whole = f"datetime(substr({moment}, 1, 19), '+' || CAST({seconds} AS INTEGER) || ' seconds')"
    return f"({whole} || substr({moment}, 20))"


@compiles(LaterBy, "postgresql")
def _later_by_postgresql(element: LaterBy, compiler: SQLCompiler, **options: Any) -> str:
    moment, seconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({moment} + {seconds} * INTERVAL '1 second')"


class UtcText(_PortableFunction):
    """The first characters of a time, written as 2026-03-01T23:59:59.000000Z."""

    inherit_cache = True
    type = sa.Text()


@compiles(UtcText, "sqlite")
def _utc_text_sqlite(element: UtcText, compiler: SQLCompiler, **options: Any) -> str:
    moment, length = (compiler.process(clause, **options) for clause in element.clauses)
    return f"substr(replace({moment}, ' ', 'T') || 'Z', 1, {length})"


@compiles(UtcText, "postgresql")
def _utc_text_postgresql(element: UtcText, compiler: SQLCompiler, **options: Any) -> str:
    moment, length = (compiler.process(clause, **options) for clause in element.clauses)
    return f"left(to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), {length})"
