from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from ccat_models.tables import import_all

# The names of SQLAlchemy that other modules may use: the type of a session, and the errors that they handle.
__all__ = ["DataError", "OperationalError", "OpsDb", "SQLAlchemyError", "Session", "is_database_url"]

_WRITES = "ccat_writes"


class OpsDb:
    """The operations database: SQLite embedded, PostgreSQL in production.

    Every piece of work is one transaction: committed whole when its block ends, rolled back when it raises.
    """

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.engine = sa.create_engine(self.url, **_engine_options(self.url))
        self._writing = self.engine.execution_options(**{_WRITES: True})
        isolation = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._requesting = self._writing.execution_options(**isolation)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @property
    def is_sqlite(self) -> bool:
        """Say whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session whose changes, if any, are rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session that commits when the block ends; on SQLite its first statement locks out other writers."""
        import_all()
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def request(self, *, judging: bool = False) -> Iterator[Session]:
        """Give a session as `write` does, but only to one requester at a time, with an unchanging view of the database.

        To evaluate gaps and create runs for them, use one such session for both: no other process can then create the
        same runs. With `judging`, also no run can complete meanwhile: for judging all completed runs by new quality
        limits.
        """
        import_all()
        with Session(self._requesting, expire_on_commit=False) as session, session.begin():
            if not self.is_sqlite:  # on SQLite, BEGIN IMMEDIATE has the same effect
                # LOCK takes no snapshot: the view is of the time when the lock is held (PostgreSQL manual, 13.3.1).
                tables = "reduction_step, quality_check" if judging else "reduction_step"
                session.execute(sa.text(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE"))
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def is_database_url(text: str) -> bool:
    """Say whether a text can be taken for the URL of a database."""
    try:
        sa.make_url(text)
    except sa.exc.ArgumentError:
        return False
    return True


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": 60.0}}
    return {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 10}


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: see _begin_sqlite
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that begins to write fails at once if another one has written since; an immediate one
    # waits for its turn (https://sqlite.org/lang_transaction.html).
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
