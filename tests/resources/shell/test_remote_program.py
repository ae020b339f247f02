import contextlib
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resources.errors import ShellDoubtful
from resources.node import zipapp
from resources.shell.local import LocalShell
from resources.shell.port import Completed
from resources.shell.remote_program import RemoteProgram, program_path
from resources.workspace.store import AttemptStore


@dataclass
class Noting:
    """A local shell that records what is written through it."""

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


def store(shell: Noting, base: Path) -> AttemptStore:
    return AttemptStore.over(RemoteProgram(shell, base, sys.executable), base)


def test_program_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    shell = Noting()
    for _ in range(2):
        store(shell, tmp_path).disk()
    assert [path.parent for path in shell.written] == [tmp_path / ".program"]
    shell.written[0].unlink()
    store(shell, tmp_path).disk()
    assert shell.written[0] == shell.written[1]
    assert shell.written[1].read_bytes() == zipapp.content()


def test_program_answers_on_a_disk_that_is_full(small_disk: Path) -> None:
    bulk = small_disk / "bulk"
    with contextlib.suppress(OSError), bulk.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    store = AttemptStore.over(RemoteProgram(LocalShell(), small_disk, sys.executable), small_disk)
    assert store.disk().free_bytes == 0
    assert store.unlink(["bulk"]) == ({"bulk"}, {})
    assert store.disk().free_bytes > 1 << 18
    assert list((small_disk / ".program").iterdir()), "now there is room for it"


def test_a_program_without_output_is_reported(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho no idea >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ShellDoubtful, match=r"node-.*\.pyz store: exit code 1: no idea"):
        RemoteProgram(LocalShell(), tmp_path, str(python)).ask(["store"], {})


def test_program_is_named_by_its_content_and_written_once(tmp_path: Path) -> None:
    path = AttemptStore.here(tmp_path).install_program()
    assert path == program_path(tmp_path)
    assert path.name == f"node-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.pyz"
    assert path.read_bytes() == zipapp.content()
    assert path.stat().st_mode & 0o777 == 0o644
    inode = path.stat().st_ino
    assert AttemptStore.here(tmp_path).install_program() == path
    assert path.stat().st_ino == inode
    assert list(path.parent.iterdir()) == [path]
