import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from ccat_models import migrations
from ccat_models.grouping.join_graph import package_graph
from ccat_models.migrations import change_triggers, guards
from ccat_models.run.transitions import LEGAL_TRANSITIONS
from ccat_models.tables import Base
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb

REMEDY = "the models have changed: run `make migration MESSAGE=…`"
POSTGRES_DESCRIPTION = {
    "columns": "SELECT attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod), attnotnull::text"
    " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relkind = 'r' AND attnum > 0"
    " AND relnamespace = 'public'::regnamespace",
    "constraints": "SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


def test_migrations_make_what_the_models_say(ops_db: OpsDb) -> None:
    with ops_db.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert differences == [], REMEDY


def test_migrations_make_exactly_the_tables_constraints_and_indexes_of_the_models(bare_db: OpsDb) -> None:
    Base.metadata.create_all(bare_db.engine)
    with bare_db.read() as session:
        modelled = describe(session)
    Base.metadata.drop_all(bare_db.engine)
    migrations.upgrade(bare_db.engine)
    with bare_db.read() as session:
        assert describe(session) == modelled, REMEDY


def describe(session: Session) -> dict[str, list[str]]:
    if session.get_bind().dialect.name == "sqlite":
        found = session.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index')"))
        return {name: _lines(sql or "") for name, sql in found if "alembic_version" not in name}
    return {
        kind: sorted(": ".join(row) for row in session.execute(sa.text(query)) if "alembic_version" not in row[0])
        for kind, query in POSTGRES_DESCRIPTION.items()
    }


def _lines(sql: str) -> list[str]:
    """Return a table's parts; SQLite quotes the name of one that a migration has replaced, which means nothing."""
    return sorted(line.strip().rstrip(",") for line in sql.replace('"', "").splitlines())


def test_migrated_transitions_are_those_of_the_code(ops_db: OpsDb) -> None:
    with ops_db.read() as session:
        rows = session.execute(sa.text("SELECT from_status, to_status FROM run_status_transition")).all()
    assert {(row.from_status, row.to_status) for row in rows} == {
        (old.value, new.value) for old, new in LEGAL_TRANSITIONS
    }


def test_every_guard_exists(ops_db: OpsDb) -> None:
    query = (
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if ops_db.is_sqlite
        else "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    )
    with ops_db.read() as session:
        found = {row[0]: row[1] for row in session.execute(sa.text(query))}
    assert found == guards.TABLES | change_triggers.TABLES


def test_whatever_a_rule_may_look_at_notes_its_changes() -> None:
    """But for files, whose every change is one of their package's checksum."""
    tables = {str(table.__table__) for name, table in package_graph().tables.items() if name != "RawDataFile"}
    noted = {noted.table for noted in change_triggers.NOTED if noted.event.startswith("UPDATE")}
    assert tables - noted == set()


def test_guards_know_every_status() -> None:
    legal_or_refused = "\n".join(guards.sqlite())
    pairs = [(old.value, new.value) for old in RunStatus for new in RunStatus if old is not new]
    assert [f"{old} -> {new}" for old, new in pairs if f"status {old} -> {new}'" not in legal_or_refused] == []


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(migrations.configuration())
    assert scripts.get_heads() == [migrations.head()]


def test_a_fresh_database_is_not_current_and_a_migrated_one_is(bare_db: OpsDb) -> None:
    assert migrations.current(bare_db.engine) is None
    assert not migrations.is_current(bare_db.engine)
    migrations.upgrade(bare_db.engine)
    with bare_db.engine.connect() as connection:
        noted = MigrationContext.configure(connection).get_current_revision()
    assert migrations.current(bare_db.engine) == migrations.head() == noted
    assert migrations.is_current(bare_db.engine)
