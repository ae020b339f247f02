"""Temporary tables of a session's connection."""

import sqlalchemy as sa
from sqlalchemy.orm import Session


def make_anew(session: Session, *tables: sa.Table) -> None:
    """Make temporary tables, empty, whether or not the connection has them."""
    for table in tables:
        session.execute(sa.text(f"DROP TABLE IF EXISTS {table.name}"))
        session.execute(sa.schema.CreateTable(table))


def analyze(session: Session, *tables: sa.Table) -> None:
    """Tell PostgreSQL's planner how much tables hold now; it does not look at temporary ones by itself."""
    if session.get_bind().dialect.name == "postgresql":
        for table in tables:
            session.execute(sa.text(f"ANALYZE {table.name}"))
