import re
import shutil
import subprocess  # noqa: TID251 - asks git
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = "uv.lock"  # uv writes where it found each package
INDEX = "pypi"  # with its ending added below: no text of ours names a registry
THIS = Path(__file__).relative_to(ROOT).as_posix()
FORBIDDEN = {
    "a package registry": r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|artifactory",
    "a home directory": r"/home/\w+/|/root/\w|/Users/\w+/",
    "the tree of one machine": re.escape(str(ROOT)) + r"\b",
}


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name not in ("", LOCK, THIS)]
    return [path for path in paths if path.is_file()]


def offences(text: str) -> list[str]:
    return [f"{what}: {found[0]}" for what, pattern in FORBIDDEN.items() if (found := re.search(pattern, text))]


def test_no_tracked_file_names_a_registry_or_a_machine() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): its
        for path in tracked()
        if (its := offences(path.read_text(encoding="utf-8", errors="ignore")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [f"index = https://{INDEX}.org/simple", "cd /home/ada/ccat", "see /root/x", f"PATH={ROOT}/.venv/bin"],
)
def test_an_offence_is_seen(text: str) -> None:
    assert len(offences(text)) == 1


@pytest.mark.parametrize("text", ["/home of the data", "sha256 of /workflow/input", "the root of the tree"])
def test_innocent_text_is_let_through(text: str) -> None:
    assert offences(text) == []


def test_every_picture_of_the_documentation_is_on_a_page() -> None:
    kept = {path.resolve() for path in (ROOT / "docs" / "images").iterdir()}
    shown = {
        (page.parent / name).resolve()
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert kept == shown
