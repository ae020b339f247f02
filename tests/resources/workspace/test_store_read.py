import os
from pathlib import Path

import pytest

from resources.workspace.store import AttemptStore, Part, Wanted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a directory with a file, beside a secret that links point to."""
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "attempt" / "logs"
    inside.mkdir(parents=True)
    (inside / "stdout.log").write_text("one\ntwo\n")
    (inside / "link.log").symlink_to(tmp_path / "secret")
    (tmp_path / "attempt" / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe")
    return tmp_path / "attempt"


def test_sizes_beginnings_and_ends_are_read_in_the_order_asked_for(root: Path) -> None:
    store, log = AttemptStore.here(root), "logs/stdout.log"
    wanted = [Wanted(root, log), Wanted(root, "no"), Wanted(root, log, 3), Wanted(root, log, 4, from_end=True)]
    assert store.read(wanted) == [Part(8, b""), None, Part(8, b"one"), Part(8, b"two\n")]
    assert store.read([Wanted(root, log, 100), Wanted(root, log, 100, from_end=True)]) == [Part(8, b"one\ntwo\n")] * 2
    assert store.read([]) == []


@pytest.mark.parametrize(
    "path",
    ["logs/link.log", "elsewhere/secret", "../secret", "logs/../../secret", "/etc/hostname", "logs", "", "logs/pipe"],
)
def test_nothing_outside_and_nothing_but_regular_files_is_read(root: Path, path: str) -> None:
    assert AttemptStore.here(root).read([Wanted(root, path, 10)]) == [None]


def test_what_does_not_fit_into_one_answer_is_left_out(root: Path) -> None:
    for name in "abc":
        with (root / name).open("wb") as file:
            file.truncate(20 << 20)
    wanted = [Wanted(root, name, 20 << 20) for name in "abc"]
    assert [part and len(part.content) for part in AttemptStore.here(root).read(wanted)] == [20 << 20, 20 << 20]
