import sqlalchemy as sa

from ccat_models.tables import Base
from resources.ops_db import OpsDb

_KEPT = "run_status_transition"  # the migrations' own rows


def empty(ops_db: OpsDb) -> None:
    """Remove every row that did not come from the migrations, past all triggers, in some milliseconds.

    For property tests: one database serves all examples of a test, each begins with this.
    """
    deletions = [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables) if table.name != _KEPT]
    with ops_db.write() as session:
        if ops_db.is_sqlite:
            triggers = session.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
            before = [f"DROP TRIGGER {name}" for name, _ in triggers]
            after = [sql for _, sql in triggers]
        else:
            before = ["SET LOCAL session_replication_role = replica"]  # neither triggers nor foreign keys
            after = ["SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'"]
        for statement in (*before, *deletions, *after):
            session.connection().exec_driver_sql(statement)
