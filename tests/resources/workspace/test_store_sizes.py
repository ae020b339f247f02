import os
from pathlib import Path

import pytest

from resources.workspace.store import AttemptStore


@pytest.fixture
def store(tmp_path: Path) -> AttemptStore:
    """Give a store with a file, and a directory that was moved away and is linked."""
    base = tmp_path / "base"
    (base / "a").mkdir(parents=True)
    (base / "a" / "file").write_text("text")
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "file").write_text("text")
    (base / "linked").symlink_to(tmp_path / "away")
    (base / "loop").symlink_to("loop")
    os.mkfifo(base / "pipe")
    return AttemptStore.here(base)


def test_sizes_are_none_for_missing_files_and_a_message_for_unreadable_ones(store: AttemptStore) -> None:
    assert store.sizes(["a/file", "a/none", "none/file", "a/file/x", "a/file/x/y"]) == [4, None, None, None, None]
    doubtful = ["a", "pipe", "loop", "linked", "linked/file", "loop/file", "../base/a/file", "x" * 300]
    assert [name for name, size in zip(doubtful, store.sizes(doubtful), strict=True) if not isinstance(size, str)] == []


def test_a_file_is_gone_only_where_the_disk_says_so(store: AttemptStore) -> None:
    gone, problems = store.unlink(["a/none", "none/file", "a/file/x", "linked/file", "loop/file"])
    assert gone == {"a/none", "none/file", "a/file/x"}
    assert problems.keys() == {"linked/file", "loop/file"}
    assert (store.base.parent / "away" / "file").exists()


def test_no_base_means_no_files(tmp_path: Path) -> None:
    assert AttemptStore.here(tmp_path / "none").sizes(["a/file"]) == [None]
