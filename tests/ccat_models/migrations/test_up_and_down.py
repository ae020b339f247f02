from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from ccat_models import migrations
from ccat_models.tables import Base
from resources.ops_db import OpsDb
from tests.support.hands import rows
from tests.support.parts.ops_db import empty

Contents = dict[str, list[tuple[Any, ...]]]


def contents(ops_db: OpsDb) -> Contents:
    with ops_db.read() as session:
        return {
            name: sorted((tuple(row) for row in session.execute(sa.text(f"SELECT * FROM {name}"))), key=repr)
            for name in Base.metadata.tables
        }


def left_over(ops_db: OpsDb) -> list[str]:
    query = (
        "SELECT name FROM sqlite_master"
        if ops_db.is_sqlite
        else "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'"
    )
    with ops_db.read() as session:
        return [name for name in session.scalars(sa.text(query)) if "alembic_version" not in name]


def filled(ops_db: OpsDb) -> Contents:
    with ops_db.engine.begin() as connection:
        rows.fill(connection)
    found = contents(ops_db)
    assert [name for name, its_rows in found.items() if not its_rows] == []
    return found


def test_a_populated_database_goes_down_to_nothing_and_up_again(ops_db: OpsDb) -> None:
    before = filled(ops_db)
    migrations.downgrade(ops_db.engine, "base")
    assert left_over(ops_db) == []
    assert migrations.current(ops_db.engine) is None
    migrations.upgrade(ops_db.engine)
    assert migrations.is_current(ops_db.engine)
    assert filled(ops_db) == before


def test_upgrading_what_is_current_changes_nothing(ops_db: OpsDb) -> None:
    before = filled(ops_db)
    migrations.upgrade(ops_db.engine)
    assert contents(ops_db) == before


def test_several_upgrades_at_once_do_the_work_once(bare_db: OpsDb) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(migrations.upgrade, bare_db.engine) for _ in range(4)]:
            done.result(60)
    assert migrations.is_current(bare_db.engine)
    assert len(contents(bare_db)["run_status_transition"]) == 15


def test_a_migration_that_breaks_leaves_nothing_behind(bare_db: OpsDb) -> None:
    def break_off() -> None:
        with migrations.migrating(bare_db.engine) as connection:
            connection.exec_driver_sql("CREATE TABLE half_done (id INTEGER)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert left_over(bare_db) == []


def test_replacing_a_table_keeps_all_rows_and_what_refers_to_them(sqlite_ops_db: OpsDb) -> None:
    before = filled(sqlite_ops_db)
    for table in ("run_status_history", "data_product", "executed_reduction_step"):  # last the one with triggers
        with migrations.migrating(sqlite_ops_db.engine) as connection:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table(table, recreate="always") as batch:
                batch.alter_column("id", existing_type=sa.Integer(), nullable=False)
    assert contents(sqlite_ops_db) == before
    with sqlite_ops_db.read() as session:
        assert session.scalar(sa.text("PRAGMA foreign_keys")) == 1
        assert session.scalar(sa.text("PRAGMA legacy_alter_table")) == 0


def test_a_migration_that_breaks_a_reference_is_refused(sqlite_ops_db: OpsDb) -> None:
    before = filled(sqlite_ops_db)

    def lose_the_site() -> None:
        with migrations.migrating(sqlite_ops_db.engine) as connection:
            connection.exec_driver_sql("DELETE FROM site")

    with pytest.raises(sa.exc.IntegrityError, match=r"1 dangling references, e\.g\. row 1 of data_location to site"):
        lose_the_site()
    assert contents(sqlite_ops_db) == before


def test_emptying_takes_all_rows_but_those_of_the_migrations_and_restarts_the_numbers(ops_db: OpsDb) -> None:
    before = filled(ops_db)
    empty(ops_db)
    assert {name: len(its_rows) for name, its_rows in contents(ops_db).items() if its_rows} == {
        "run_status_transition": 15
    }
    assert filled(ops_db) == before
