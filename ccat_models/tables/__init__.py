"""The tables of ops-db, a module for each subject; `Base` of this package knows them all.

A command that only reads imports the modules that it reads. A transaction that writes needs all: SQLAlchemy orders
rows by the references between tables, and a reference to a table that is not imported cannot be followed.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccat_models.tables.base import Base

__all__ = ["Base", "import_all"]

_MODULES = (
    "execution",
    "gaps",
    "lineage",
    "observation",
    "observatory",
    "pipelines",
    "places",
    "products",
    "quality",
    "raw_data",
    "space",
    "staging",
    "taints",
)


@cache
def import_all() -> None:
    """Import every table."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")


def __getattr__(name: str) -> Any:
    """Return `Base`, with every table imported and, for migrations, the partial indexes of PostgreSQL."""
    if name != "Base":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _base()


@cache
def _base() -> "type[Base]":
    import_all()
    base: type[Base] = import_module(f"{__name__}.base").Base
    for index in (index for table in base.metadata.tables.values() for index in table.indexes):
        where = index.dialect_options["sqlite"]["where"]
        if where is not None:  # set here, as it imports PostgreSQL's dialect: on SQLite only migrations need that
            index.dialect_kwargs["postgresql_where"] = where
    return base
