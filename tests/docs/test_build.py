"""The documentation is built without a warning, from whatever the code says now."""

import re
import subprocess  # noqa: TID251 - builds as `make docs` does
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT
from tests.support.parts.tree import PROGRAMS

pytestmark = pytest.mark.slow


def sphinx(folder: Path, docs: Path = DOCS) -> subprocess.CompletedProcess[str]:
    """Build as the Makefile says, into a folder."""
    said = re.search(r"sphinx-build (.+) -d \S+ docs build/docs$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert said is not None
    command = [PROGRAMS / "sphinx-build", *said[1].split(), "-d", folder / "doctrees", docs, folder / "html"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the built documentation."""
    folder = tmp_path_factory.mktemp("docs")
    done = sphinx(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.mark.xdist_group("docs-build")
def test_the_reference_is_in_the_pages(built: Path) -> None:
    commands = (built / "reference" / "commands.html").read_text()
    assert "--ignore-cooldown" in commands
    assert "<!-- generated:" not in "".join(page.read_text() for page in built.rglob("*.html"))
    assert "COLLECTING_RESULTS" in (built / "reference" / "states.html").read_text()


@pytest.mark.xdist_group("docs-build")
def test_every_page_is_reached_from_the_first(built: Path) -> None:
    waiting, seen = [built / "index.html"], set()
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".html":
            continue
        seen.add(page)
        links = re.findall(r'href="([^"#?:]+)', page.read_text())
        waiting += [target for link in links if (target := (page.parent / link).resolve()).is_file()]
    pages = {path.resolve() for path in built.rglob("*.html")}
    assert {path.relative_to(built).as_posix() for path in pages - seen} <= {"search.html"}


@pytest.mark.xdist_group("docs-build")
def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    fetched = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//[^"']+""")
    found = {path.name: fetched.findall(path.read_text()) for path in built.rglob("*.html")}
    assert {name: urls for name, urls in found.items() if urls} == {}


def built_alone(page: str, folder: Path) -> str:
    """Return what Sphinx complains of where a page is all there is; fail where it does not."""
    docs = folder / "docs"
    docs.mkdir()
    conf = (DOCS / "conf.py").read_text().replace("Path(__file__).resolve().parents[1]", f"Path({str(ROOT)!r})")
    (docs / "conf.py").write_text(conf)
    (docs / "index.md").write_text(page)
    done = sphinx(folder, docs)
    assert done.returncode != 0
    return done.stderr


def test_links_that_lead_nowhere_are_seen(tmp_path: Path) -> None:
    said = built_alone("# Page\n\n[there](nowhere.md) [here](#no-such-part) ![picture](no.svg)\n", tmp_path)
    assert all(f"{name}" in said for name in ("nowhere.md", "no-such-part", "no.svg"))


def test_generated_text_that_nothing_makes_is_seen(tmp_path: Path) -> None:
    said = built_alone("# Page\n\n<!-- generated: no-such-text -->\n", tmp_path)
    assert "index: nothing makes no-such-text; choose from: pipeline, " in said
