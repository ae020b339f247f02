import shutil
import subprocess  # noqa: TID251 - runs the linter as people do
from pathlib import Path

import pytest

from tests.support.parts.tree import PROGRAMS

ROOT = Path(__file__).parents[2]
FOLDERS = ("ccat_models", "resources", "sensors", "ccat_assets")
# module that gets the line, the line, the contract that must break
VIOLATIONS = [
    ("ccat_models/errors.py", "import resources", "Folders import downwards only"),
    ("resources/ops_db.py", "import sensors", "Folders import downwards only"),
    ("sensors/__init__.py", "import ccat_assets", "Folders import downwards only"),
    ("ccat_models/tables/base.py", "import ccat_models.raw", "A stage imports only earlier stages"),
    ("ccat_models/gap/__init__.py", "import ccat_models.run.transitions", "A stage imports only earlier stages"),
    ("ccat_models/contract/__init__.py", "import ccat_models.tables", "A stage imports only earlier stages"),
    ("ccat_models/stray.py", "", "A stage imports only earlier stages"),
    (
        "resources/shell/port.py",
        "import resources.location",
        "A tool knows only what it is made of, work only its tools",
    ),
    (
        "resources/run/executor.py",
        "import resources.request",
        "A tool knows only what it is made of, work only its tools",
    ),
    ("resources/stray.py", "", "A tool knows only what it is made of, work only its tools"),
    ("ccat_assets/wiring/settings.py", "import ccat_assets.operate", "Faces stand on work, work on wiring"),
    ("ccat_assets/api/product_server.py", "import ccat_assets.dagit", "Faces stand on work, work on wiring"),
    ("ccat_assets/stray.py", "", "Faces stand on work, work on wiring"),
    ("ccat_models/tables/base.py", "import ccat_models.migrations", "Nothing that is known depends on the migrations"),
    ("ccat_models/gap/__init__.py", "import dagster", "What is known needs no world and no Dagster"),
    ("ccat_models/gap/__init__.py", "import subprocess", "What is known needs no world and no Dagster"),
    ("resources/request/ensure.py", "import sqlalchemy", "Statements stand in the model"),
    ("sensors/__init__.py", "from sqlalchemy.orm import Session", "Statements stand in the model"),
    ("ccat_assets/dagit/snapshot.py", "from sqlalchemy import select", "Statements stand in the model"),
    ("sensors/__init__.py", "import subprocess", "Only resources start processes and open connections"),
    ("ccat_assets/__init__.py", "import paramiko", "Only resources start processes and open connections"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_the_directions_are_kept(copy: Path) -> None:
    kept = lint(copy)
    assert kept.returncode == 0, kept.stdout + kept.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("module", "line", "contract"), VIOLATIONS)
def test_a_wrong_direction_is_seen(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    broken = lint(copy)
    assert broken.returncode == 1, broken.stderr
    assert f"{contract} BROKEN" in broken.stdout
