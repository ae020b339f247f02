import io
import os
from pathlib import Path

import pytest
from PIL import Image

from ccat_assets.dagit.attempt_files import read_tail, size_inside, thumbnail_png


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a directory with a file, beside a secret that links point to."""
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "attempt" / "logs"
    inside.mkdir(parents=True)
    (inside / "stdout.log").write_text("one\ntwo\nthree\n")
    (inside / "link.log").symlink_to(tmp_path / "secret")
    (tmp_path / "attempt" / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe")
    return tmp_path / "attempt"


def test_a_regular_file_is_read(root: Path) -> None:
    assert size_inside(root, "logs/stdout.log") == 14
    assert read_tail(root, "logs/stdout.log", lines=2, max_bytes=100) == "two\nthree"


@pytest.mark.parametrize(
    "path",
    [
        "logs/link.log",
        "elsewhere/secret",
        "../secret",
        "logs/../../secret",
        "/etc/hostname",
        "logs",
        "logs/pipe",
        "no",
        "",
    ],
)
def test_nothing_else_is(root: Path, path: str) -> None:
    assert size_inside(root, path) is None
    assert read_tail(root, path, lines=9, max_bytes=99) == ""
    assert thumbnail_png(root, path, max_bytes=99) is None


def test_a_root_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert size_inside(tmp_path / "gone", "x") is None


def test_a_cut_line_is_left_out_and_garbage_is_harmless(root: Path) -> None:
    (root / "long").write_bytes(b"x" * 50 + b"\nlast \xff\x00\x1b[2Jline\r\n")
    assert read_tail(root, "long", lines=5, max_bytes=30) == "last \ufffdline"
    (root / "one").write_bytes(b"y" * 50)
    assert read_tail(root, "one", lines=5, max_bytes=30) == "y" * 30


def test_a_small_picture_stays_as_it_is(root: Path) -> None:
    Image.new("RGB", (20, 10)).save(root / "small.png")
    assert thumbnail_png(root, "small.png", max_bytes=1000) == (root / "small.png").read_bytes()


@pytest.mark.slow
def test_a_picture_is_made_smaller_until_it_fits(root: Path) -> None:
    Image.frombytes("RGB", (800, 600), os.urandom(3 * 800 * 600)).save(root / "large.png")
    found = {}
    for limit in (200_000, 15_000):
        picture = thumbnail_png(root, "large.png", max_bytes=limit)
        assert picture is not None
        assert len(picture) <= limit
        with Image.open(io.BytesIO(picture)) as image:
            found[limit] = image.width
    assert found[200_000] > found[15_000]
    assert thumbnail_png(root, "large.png", max_bytes=100) is None


def test_what_is_no_picture_or_too_large_a_one_is_not_drawn(root: Path) -> None:
    (root / "text.png").write_text("text")
    Image.new("1", (9000, 9000)).save(root / "bomb.png")
    Image.new("RGB", (30, 30)).save(root / "jpeg.png", format="JPEG")
    cut = io.BytesIO()
    Image.frombytes("RGB", (80, 60), os.urandom(3 * 80 * 60)).save(cut, format="PNG")
    (root / "cut.png").write_bytes(cut.getvalue()[:3000])
    for name in ("text.png", "bomb.png", "jpeg.png", "cut.png"):
        assert thumbnail_png(root, name, max_bytes=10_000) is None
    assert thumbnail_png(root, "bomb.png", max_bytes=1_000_000) is None
