from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:  # Alembic takes a fifth of a second, and asking for the revision needs none of it
    from alembic.config import Config

_VERSION_TABLE = "alembic_version"  # where Alembic notes the revision
_LOCK = 0x63636174  # "ccat"; any number that nothing else locks


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Upgrade the schema to a revision, in one transaction; of several callers, one works and the others wait."""
    from alembic import command

    with migrating(engine) as connection:
        command.upgrade(configuration(connection), revision)


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Downgrade the schema to a revision, `base` for none, in one transaction; the data of removed tables is lost."""
    from alembic import command

    with migrating(engine) as connection:
        command.downgrade(configuration(connection), revision)


def current(engine: sa.Engine) -> str | None:
    """Return the schema's revision, None for an empty database."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(_VERSION_TABLE):
            return None
        return connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608 - a constant


def head() -> str:
    """Return the newest revision."""
    files = (Path(__file__).parent / "versions").glob("[0-9]*_*.py")  # each begins with its number, which counts up
    newest = max((file.name.partition("_")[0] for file in files), default=None)
    if newest is None:
        raise LookupError("the package holds no migrations")
    return newest


def is_current(engine: sa.Engine) -> bool:
    """Say whether the schema is the one that the models expect."""
    return current(engine) == head()


def configuration(connection: sa.Connection | None = None) -> "Config":
    """Return Alembic's configuration, which refers to this package and needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a transaction that has the exclusive right to change the schema."""
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            with _tables_may_be_replaced(connection), connection.begin():
                connection.exec_driver_sql("PRAGMA user_version = 0")  # a write takes the lock before the first read
                yield connection
                _refuse_dangling_references(connection)
        else:
            with connection.begin():
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                yield connection


@contextmanager
def _tables_may_be_replaced(connection: sa.Connection) -> Iterator[None]:
    # On SQLite a table is altered by creating a new one, dropping the old one and renaming. With foreign keys on, the
    # drop deletes referring rows; without legacy_alter_table, the rename fails on triggers that name the dropped table
    # (https://sqlite.org/lang_altertable.html). Neither pragma works inside a transaction, so no Connection.execute.
    driver: Any = connection.connection.driver_connection
    before = driver.execute("PRAGMA foreign_keys").fetchone()[0]
    driver.execute("PRAGMA foreign_keys = OFF")
    driver.execute("PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        driver.execute("PRAGMA legacy_alter_table = OFF")
        driver.execute(f"PRAGMA foreign_keys = {before}")


def _refuse_dangling_references(connection: sa.Connection) -> None:
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if dangling:
        table, row, referred, _ = dangling[0]
        raise sa.exc.IntegrityError(
            "PRAGMA foreign_key_check",
            None,
            ValueError(f"{len(dangling)} dangling references, e.g. row {row} of {table} to {referred}"),
        )
