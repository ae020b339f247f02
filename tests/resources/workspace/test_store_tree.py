import os
from pathlib import Path

import pytest

from resources.node.store import limits
from resources.workspace.store import AttemptStore

PATHS = ("top", "a/1", "a/2", "a/b/3", "a/skipped/4", "z/5", ".hidden/6")


@pytest.fixture
def store(tmp_path: Path) -> AttemptStore:
    """Give a store with files, links and a directory without permissions."""
    base = tmp_path / "base"
    for path in PATHS:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(path)
    (base / "link").symlink_to("top")
    (base / "links").symlink_to("a")
    os.mkfifo(base / "pipe")
    return AttemptStore.here(base)


def seen(store: AttemptStore, limit: int, skip: str = r"\A\.hidden\Z|/skipped\Z") -> list[str]:
    found, after = [], ("", "")
    while True:
        tree = store.tree(after, limit=limit, skip=skip)
        found += [file.path for file in tree.files]
        if tree.after is None:
            return found
        after = tree.after


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_every_file_is_listed_once_and_no_link_is_followed(store: AttemptStore, limit: int) -> None:
    assert seen(store, limit) == ["top", "a/1", "a/2", "a/b/3", "z/5"]


def test_a_file_is_listed_with_path_size_and_age(store: AttemptStore) -> None:
    (file,) = store.tree(("a", "1"), limit=1).files
    assert (file.path, file.size_bytes, file.age_seconds < 60) == ("a/2", 3, True)


def test_a_walk_continues_after_a_file_that_no_longer_exists(store: AttemptStore) -> None:
    for name in ("1", "2", "b/3"):
        (store.base / "a" / name).unlink()
    (store.base / "a" / "b").rmdir()
    assert [file.path for file in store.tree(("a/b", "3"), limit=9).files] == ["a/skipped/4", "z/5"]


def test_a_walk_takes_no_longer_than_it_may(store: AttemptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_LOOK_SECONDS", 0.0)
    assert store.tree(limit=100).files == []
    assert seen(store, 100) == ["top", "a/1", "a/2", "a/b/3", "z/5"]


def test_names_that_are_no_text_come_back_as_they_are(store: AttemptStore) -> None:
    name = os.fsdecode(b"caf\xe9")
    (store.base / "z" / name).write_text("x")
    (file,) = store.tree(("z", "5"), limit=9).files
    assert store.unlink([file.path]) == ({file.path}, {})
    assert not (store.base / "z" / name).exists()
