"""Looking at attempts: one whose files are large, many or not to be read now holds up no other."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from resources.errors import OutputsUnusable
from resources.node.store import limits
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from resources.workspace.store import AttemptStore, Found


def attempt(base: Path, name: str, outputs: dict[str, bytes] | None = None) -> Path:
    """Leave an attempt that has completed."""
    root = base / name
    (root / "claim").mkdir(parents=True)
    (root / "job.json").write_text(json.dumps({"submission_key": "k", "output_directory": "output"}))
    listed = [leave(root, path, content) for path, content in (outputs or {}).items()]
    (root / "result.json").write_text(json.dumps({"outcome": "completed", "outputs": listed}))
    return root


def leave(root: Path, path: str, content: bytes) -> dict[str, Any]:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    kind = "qa_metric" if "/qa/" in path else "science"
    return {"path": path, "type": kind, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_whole(found: Found) -> bool:
    return (found.problem, found.trouble, found.output_directory) == (None, None, "output")


def test_what_never_fits_into_an_answer_is_reported_for_its_attempt_alone(tmp_path: Path) -> None:
    program = RemoteProgram(LocalShell(), tmp_path / "base", "python3")
    store, good = AttemptStore.over(program, tmp_path / "base"), attempt(tmp_path, "good")
    zeros = attempt(tmp_path, "zeros")
    (zeros / "result.json").write_bytes(b"\0" * (12 << 20))  # six times as much in JSON
    numbers = json.dumps({f"n{i}": 1.0 for i in range(60_000)}).encode()
    many = attempt(tmp_path, "many", {f"output/qa/{i}.json": numbers for i in range(40)})
    found = store.look([zeros, many, good])
    assert is_whole(found[good])
    for bad in (zeros, many):
        with pytest.raises(OutputsUnusable, match=rf"{bad}: result\.json and qa/\*\.json take \d+ bytes of an answer"):
            found[bad].result(bad, "k")


def test_what_does_not_fit_beside_others_is_left_for_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGEST_ANSWER_BYTES", 4000)
    text = {"output/qa/n.json": b"\x01" * 400}
    first, second = (attempt(tmp_path, name, text) for name in "ab")
    store = AttemptStore.here(tmp_path)
    assert list(store.look([first, second])) == [first]
    assert is_whole(store.look([second])[second])


def test_the_comparison_of_many_files_continues_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST_LOOK_AT_ONE_SECONDS", -1.0)
    many = attempt(tmp_path, "many", {f"output/science/{i}": b"x" for i in range(3)})
    good, store = attempt(tmp_path, "good"), AttemptStore.here(tmp_path)
    assert [list(store.look([many, good])) for _ in range(2)] == [[good], [good]]
    assert is_whole(store.look([many])[many])
    again = json.loads((many / "result.json").read_text())
    (many / "result.json").write_text(json.dumps(again, indent=1))
    assert store.look([many]) == {}, "of another result, nothing has been compared yet"


def test_where_nothing_can_be_noted_all_is_compared_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_LOOK_AT_ONE_SECONDS", -1.0)
    many = attempt(tmp_path, "many", {f"output/science/{i}": b"x" for i in range(3)})
    (many / "claim").rmdir()
    assert is_whole(AttemptStore.here(tmp_path).look([many])[many])


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("name", [b"result.json", b"science", b"file"])
def test_a_disk_that_fails_for_now_is_no_bad_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, name: bytes
) -> None:
    bad, good = (attempt(tmp_path, one, {"output/science/file": b"x"}) for one in ("bad", "good"))
    store, opened = AttemptStore.here(tmp_path), os.open

    def failing(path: Any, *arguments: Any, **named: Any) -> int:
        inode = os.fstat(named["dir_fd"]).st_ino if "dir_fd" in named else 0
        if path == name and inode in {(bad / one).stat().st_ino for one in ("", "output", "output/science")}:
            raise OSError(code, os.strerror(code))
        return opened(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        found = store.look([bad, good])
    assert is_whole(found[good])
    assert found[bad].trouble == f"{bad}: [Errno {code}] {os.strerror(code)}"
    assert not found[bad].is_silent
    assert is_whole(store.look([bad])[bad])


def test_a_claim_that_cannot_be_made_keeps_no_other_from_being_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert AttemptStore.here(tmp_path).claim([tmp_path / "file", tmp_path / "b"]) == {tmp_path / "b"}
