"""Temporary tables of a session's connection."""

import sqlalchemy as sa
from sqlalchemy.orm import Session


def create_empty(session: Session, *tables: sa.Table) -> None:
    """Create temporary tables, replacing those that the connection has already."""
    for table in tables:
        session.execute(sa.text(f"DROP TABLE IF EXISTS {table.name}"))
        session.execute(sa.schema.CreateTable(table))


def analyze(session: Session, *tables: sa.Table) -> None:
    """Give PostgreSQL's planner statistics of tables; it does not collect them for temporary tables."""
    if session.get_bind().dialect.name == "postgresql":
        for table in tables:
            session.execute(sa.text(f"ANALYZE {table.name}"))
