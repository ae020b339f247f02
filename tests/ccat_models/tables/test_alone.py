"""A module of tables can be read without the others: commands that read import only those that they need."""

import subprocess  # noqa: TID251 - a new process has imported nothing yet
import sys
from pathlib import Path

import pytest

from ccat_models import tables

ROOT = Path(__file__).parents[3]
MODULES = sorted(Path(tables.__file__).parent.glob("*.py"))
WITHOUT_TABLES = {"__init__", "base", "insert", "lengths"}
REPORT = """
import sys
import sqlalchemy as sa
from importlib import import_module
from ccat_models.tables.base import Base
import_module(sys.argv[1])
sa.orm.configure_mappers()
columns = [column for table in Base.metadata.tables.values() for column in table.columns]
print(*(f"{len(columns) > 0}", *(f"{column}" for column in columns if isinstance(column.type, sa.types.NullType))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", [path.stem for path in MODULES if path.stem not in WITHOUT_TABLES])
def test_the_tables_of_a_module_are_whole_without_the_others(module: str) -> None:
    words = [sys.executable, "-c", REPORT, f"ccat_models.tables.{module}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["True"], "a key into another module's table needs a type of its own"


def test_the_package_knows_every_table() -> None:
    written = {
        line.split('"')[1] for path in MODULES for line in path.read_text().splitlines() if "__tablename__ =" in line
    }
    assert set(tables.Base.metadata.tables) >= written
    assert written
