from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def insert_or_ignore(session: Session, table: type[Any] | sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT for this database to build on, of which rows that are already there are passed over."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()
