import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resources.errors import ShellDoubtful
from resources.node import store_program
from resources.shell.local import LocalShell
from resources.shell.port import Completed
from resources.shell.remote_program import RemoteProgram
from resources.workspace.store import AttemptStore


@dataclass
class Noting:
    """A shell of this machine that notes what is written over it."""

    shell: LocalShell = field(default_factory=LocalShell)
    written: list[Path] = field(default_factory=list)
    host: str = ""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        return self.shell.run(command, stdin=stdin, timeout_seconds=timeout_seconds)

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        return self.shell.read(path, limit_bytes)

    def write(self, path: Path, content: bytes) -> None:
        self.written.append(path)
        self.shell.write(path, content)

    def close(self) -> None:
        self.shell.close()


def test_program_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    shell = Noting()
    for _ in range(2):
        AttemptStore.over(shell, tmp_path, sys.executable).disk()
    assert [path.parent for path in shell.written] == [tmp_path / ".wrapper"]
    shell.written[0].unlink()
    AttemptStore.over(shell, tmp_path, sys.executable).disk()
    assert shell.written[0] == shell.written[1]
    assert shell.written[1].read_bytes() == Path(store_program.__file__).read_bytes()


def test_program_answers_on_a_disk_that_is_full(small_disk: Path) -> None:
    bulk = small_disk / "bulk"
    with contextlib.suppress(OSError), bulk.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    store = AttemptStore.over(LocalShell(), small_disk, sys.executable)
    assert store.disk().free_bytes == 0
    assert store.unlink(["bulk"]) == ({"bulk"}, {})
    assert store.disk().free_bytes > 1 << 18
    assert list((small_disk / ".wrapper").iterdir()), "now there is room for it"


def test_program_that_says_nothing_is_told(tmp_path: Path) -> None:
    source = tmp_path / "quiet.py"
    source.write_text("import sys; sys.exit('no idea')")
    with pytest.raises(ShellDoubtful, match=r"quiet-.*\.py: exit code 1: no idea"):
        RemoteProgram(LocalShell(), source, tmp_path / "programs", sys.executable).ask({})
