"""Write migrations from the mapped tables.

migration.py first             rewrite the generated part of 0001 (only before its release)
migration.py next MESSAGE      write the next revision: the difference between migrations and models
"""
# ruff: noqa: INP001

import subprocess  # noqa: TID251 - a tool calls the formatter
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext

from ccat_models import migrations
from ccat_models.migrations.rendering import render_item
from ccat_models.tables import Base
from resources.ops_db import OpsDb

VERSIONS = Path(migrations.__file__).parent / "versions"
MARK = "# What follows is written by `make first-migration`, as long as this revision is not released.\n"
FUNCTION = '''

def {name}_tables() -> None:
    """{name} all tables."""
{body}
'''


def rewrite_first() -> Path:
    """Rewrite what follows the mark in 0001 and return its path."""
    path = VERSIONS / "0001_tables.py"
    with _empty_database() as engine, engine.connect() as connection:
        found = produce_migrations(MigrationContext.configure(connection), Base.metadata)
    if found.upgrade_ops is None or found.downgrade_ops is None:
        raise SystemExit("the models have no tables")
    kept, mark, _ = path.read_text().partition(MARK)
    create = FUNCTION.format(name="create", body=_body(found.upgrade_ops))
    drop = FUNCTION.format(name="drop", body=_body(found.downgrade_ops))
    path.write_text(kept + mark + create.replace('"""create', '"""Create') + drop.replace('"""drop', '"""Drop'))
    return path


def _body(operations: ops.UpgradeOps | ops.DowngradeOps) -> str:
    lines = render_python_code(operations, render_item=render_item).splitlines()
    # Alembic frames its code with ###; an index goes with its table.
    return "\n".join(line for line in lines if "###" not in line and "op.drop_index" not in line)


def write_next(message: str) -> Path:
    """Write the next revision file and return its path."""
    with _empty_database() as engine:
        migrations.upgrade(engine)
        with migrations.migrating(engine) as connection:
            number = f"{int(migrations.head()) + 1:04d}"
            script = command.revision(migrations.configuration(connection), message, autogenerate=True, rev_id=number)
    if script is None or isinstance(script, list):
        raise SystemExit("no revision was written")
    return Path(script.path)


@contextmanager
def _empty_database() -> Iterator[sa.Engine]:
    with tempfile.TemporaryDirectory() as folder:
        database = OpsDb(f"sqlite:///{folder}/ops.sqlite")
        yield database.engine
        database.close()


def main(words: list[str]) -> None:
    """Run the tool."""
    match words:
        case ["first"]:
            path = rewrite_first()
        case ["next", *message] if message:
            path = write_next(" ".join(message))
        case _:
            raise SystemExit(__doc__)
    for formatting in (["ruff", "check", "--fix", "--quiet"], ["ruff", "format", "--quiet"]):
        subprocess.run([*formatting, str(path)], check=True)  # noqa: S603 - ruff stands in the same environment
    print(path)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
