"""Compile each statement once in a test process, not once for each of the databases that its tests open.

An engine keeps the statements that its dialect has compiled, and a test has an engine of its own: to compile took a
fifth of the time of the tests of the command line.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.util import LRUCache

_COMPILED: LRUCache[Any, Any] = LRUCache(3000)


class _Shared(Dialect):
    """Statements are kept by dialect: all dialects of one class and one style of parameters are the same here."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.paramstyle == getattr(other, "paramstyle", None)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: sa.Engine) -> None:
        engine.update_execution_options(compiled_cache=_COMPILED)


class SharedSqlite(_Shared, SQLiteDialect_pysqlite):
    supports_statement_cache = True


class SharedPostgres(_Shared, PGDialect_psycopg2):
    supports_statement_cache = True


def compile_once() -> None:
    """Let all engines of this process, those of Dagster too, share compiled statements."""
    registry.register("sqlite", __name__, SharedSqlite.__name__)
    registry.register("postgresql", __name__, SharedPostgres.__name__)
