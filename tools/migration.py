"""Write the next migration, the difference between migrations and models: migration.py next MESSAGE."""
# ruff: noqa: INP001

import subprocess  # noqa: TID251 - a tool calls the formatter
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from ccat_models import migrations
from resources.ops_db import OpsDb


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
        case ["next", *message] if message:
            path = write_next(" ".join(message))
        case _:
            raise SystemExit(__doc__)
    for formatting in (["ruff", "check", "--fix", "--quiet"], ["ruff", "format", "--quiet"]):
        subprocess.run([*formatting, str(path)], check=True)  # noqa: S603 - ruff is in the same environment
    print(path)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
