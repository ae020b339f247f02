import shutil
import subprocess  # noqa: TID251 - builds the wheel as people do
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.parts.not_run import not_run

ROOT = Path(__file__).parents[2]
SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


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


@pytest.mark.parametrize("editable", [False, True])
def test_there_is_a_ccat_where_it_works_and_nowhere_else(tmp_path: Path, editable: bool) -> None:
    uv = shutil.which("uv")
    if uv is None:
        not_run("uv", "make setup")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python, "--no-deps"]
    install += ["--editable", ROOT] if editable else [ROOT]
    subprocess.run(install, check=True, capture_output=True)
    own = subprocess.check_output([python, "-c", SITE_PACKAGES], text=True).strip()
    Path(own, "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    ccat = python.with_name("ccat")
    if editable:
        written = subprocess.check_output([ccat, "--version"], text=True, cwd=tmp_path).strip()
        assert f'\nversion = "{written}"\n' in (ROOT / "pyproject.toml").read_text()
    else:
        assert not ccat.exists()
        asked = "from ccat_models import migrations; print(migrations.__file__, migrations.head())"
        assert subprocess.check_output([python, "-c", asked], text=True, cwd=tmp_path).startswith(own)
