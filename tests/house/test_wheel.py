import shutil
import subprocess  # noqa: TID251 - builds the wheel as people do
import zipfile
from pathlib import Path

import pytest

from tests.support.parts.not_run import not_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Give the names of the files in the wheel."""
    uv = shutil.which("uv")
    if uv is None:
        not_run("uv", "make setup")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", folder, ROOT], check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_ccat_models_and_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ccat_models"}


def test_the_wheel_holds_all_of_ccat_models(names: set[str]) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ccat_models").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours - names == set()
    assert {"ccat_models/py.typed", "ccat_models/migrations/env.py", "ccat_models/migrations/script.py.mako"} <= names
    assert "ccat_models/migrations/versions/0001_tables.py" in names
