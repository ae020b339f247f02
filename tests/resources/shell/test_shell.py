import os
import random
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.errors import ShellDoubtful, ShellUnavailable, UnsafePath
from resources.shell.local import LocalShell
from resources.shell.port import Completed, Shell
from resources.shell.ssh import SshShell
from tests.support.hands.attempts import PATIENCE_SECONDS, python
from tests.support.parts.login_node import LoginNode

ECHO_WORDS = "import sys; sys.stdout.buffer.write('|'.join(sys.argv[1:]).encode('utf-8', 'surrogateescape'))"
DIGEST_STDIN = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
WRITE_BOTH = """
import sys, threading
def write(stream, size): stream.buffer.write(b"x" * size)
threads = [threading.Thread(target=write, args=a) for a in ((sys.stdout, 5_000_000), (sys.stderr, 1_000_000))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
LIMIT = 1000


@pytest.fixture(scope="module")
def login_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginNode]:
    with LoginNode(tmp_path_factory.mktemp("login-node")) as node:
        yield node


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.real)])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    made: Shell = LocalShell() if request.param == "local" else SshShell(request.getfixturevalue("login_node").target())
    yield made
    made.close()


def limited(shell: Shell, request: pytest.FixtureRequest) -> Shell:
    """Return a shell of the same kind that takes little output."""
    if isinstance(shell, LocalShell):
        return LocalShell(output_limit_bytes=LIMIT)
    return SshShell(request.getfixturevalue("login_node").target(), output_limit_bytes=LIMIT)


@pytest.mark.parametrize(
    "word",
    [
        "two words",
        "it's",
        '"quoted"',
        "$(touch never)",
        "`id`",
        "$HOME",
        "a\nb\n",
        "é→🔭",
        "*",
        "",
        "-n",
        "a\\nb",
        "; exit 3",
    ],
)
def test_words_reach_the_program_as_they_are(shell: Shell, word: str) -> None:
    assert shell.run([*python(ECHO_WORDS), word, "end"]) == Completed(0, f"{word}|end", "")


def test_a_word_that_is_not_unicode_reaches_the_program(shell: Shell) -> None:
    code = "import os, sys; print(os.fsencode(sys.argv[1]).hex())"
    assert shell.run([*python(code), os.fsdecode(b"\xff")]).stdout == "ff\n"


def test_the_program_is_never_a_builtin_of_a_shell(shell: Shell) -> None:
    assert shell.run(["echo", "a\\tb"]).stdout == "a\\tb\n"  # dash's own echo would write a tab
    assert shell.run(["cd", "/"]).exit_code == 127


@pytest.mark.parametrize("command", [[], ["true", "a\0b"]])
def test_what_is_no_command_is_refused(shell: Shell, command: list[str]) -> None:
    with pytest.raises(UnsafePath, match="not a command"):
        shell.run(command)


def test_large_stdin_arrives_whole(shell: Shell) -> None:
    content = random.Random(1).randbytes(5_000_000)
    digest = LocalShell().run(["sha256sum"], stdin=content).stdout.split()[0]
    assert shell.run(python(DIGEST_STDIN), stdin=content) == Completed(0, f"{digest}\n", "")


def test_stdin_is_at_its_end_where_none_is_given(shell: Shell) -> None:
    assert shell.run(["cat"]) == Completed(0, "", "")


def test_program_that_reads_no_stdin_is_no_error(shell: Shell) -> None:
    assert shell.run(["true"], stdin=b"x" * 5_000_000) == Completed(0, "", "")


def test_large_stdout_and_stderr_at_once_arrive_whole(shell: Shell) -> None:
    ended = shell.run(python(WRITE_BOTH), stdin=b"x" * 1_000_000)
    assert (ended.exit_code, len(ended.stdout), len(ended.stderr)) == (0, 5_000_000, 1_000_000)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_more_output_than_the_limit_is_no_answer(shell: Shell, request: pytest.FixtureRequest, stream: str) -> None:
    small = limited(shell, request)
    code = f"import sys, time; sys.{stream}.write('x' * {LIMIT + 1}); sys.{stream}.flush(); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(ShellDoubtful, match=f"more than {LIMIT} bytes"):
        small.run(python(code))
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert len(small.run(python(f"print('x' * {LIMIT - 1})")).stdout) == LIMIT
    small.close()


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_code_is_the_program_s(shell: Shell, code: int) -> None:
    assert shell.run(python(f"raise SystemExit({code})")).exit_code == code


@pytest.mark.parametrize("number", [9, 15])
def test_ending_by_a_signal_is_128_and_its_number(shell: Shell, number: int) -> None:
    assert shell.run(python(f"import os; os.kill(os.getpid(), {number})")).exit_code == 128 + number


def test_missing_program_is_127(shell: Shell) -> None:
    for program in ("no-such-program", "/no/such/program"):
        ended = shell.run([program])
        assert ended.exit_code == 127
        assert program in ended.stderr
        assert "No such file or directory" in ended.stderr


def test_program_that_cannot_be_executed_is_126(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    ended = shell.run([str(tmp_path / "program")])
    assert (ended.exit_code, ended.stdout) == (126, "")
    assert "Permission denied" in ended.stderr


def test_bytes_that_are_not_utf8_are_replaced(shell: Shell) -> None:
    assert shell.run(python(r"import os; os.write(1, b'a\xffb')")).stdout == "a�b"


def test_command_that_takes_too_long_is_doubtful_and_the_next_one_works(shell: Shell) -> None:
    started = time.monotonic()
    with pytest.raises(ShellDoubtful, match="end"):
        shell.run(["sleep", "20"], timeout_seconds=0.5)
    assert time.monotonic() - started < 5
    assert shell.run(["echo", "here"]).stdout == "here\n"


def test_program_that_closes_its_streams_and_stays_is_waited_for(shell: Shell) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep({}); os._exit(4)"
    assert shell.run(python(code.format(0.2))).exit_code == 4
    with pytest.raises(ShellDoubtful):
        shell.run(python(code.format(20)), timeout_seconds=0.5)


def test_local_time_out_ends_the_whole_process_group(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ShellDoubtful):
        LocalShell().run(["sh", "-c", f"sleep 60 > {tmp_path}/held & wait"], timeout_seconds=0.5)
    os.set_blocking(held, True)
    assert os.read(held, 1) == b""  # the end of file comes when the last holder is gone
    os.close(held)


def test_local_environment_is_minimal_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    code = "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"
    assert "SECRET" not in LocalShell().run(python(code)).stdout
    assert LocalShell({"ONLY": "this"}).run(python(code)).stdout == "['ONLY']\n"


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_file_is_written_and_read_whole(shell: Shell, tmp_path: Path, size: int) -> None:
    path, content = tmp_path / "a b'$x" / "é" / "3" / "file", random.Random(size).randbytes(size)
    shell.write(path, content)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    assert shell.read(path, size) == content


def test_write_replaces_what_was_there(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old and long")
    old = path.open()
    shell.write(path, b"new")
    assert path.read_text() == "new"
    assert old.read() == "old and long"  # another file took the name: no reader sees half of one
    old.close()


def test_file_above_the_limit_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 101)
    assert shell.read(tmp_path / "file", 101) == b"x" * 101
    with pytest.raises(UnsafePath, match="101 bytes, more than the 100"):
        shell.read(tmp_path / "file", 100)


def test_file_that_is_not_there_is_none(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert shell.read(tmp_path / "missing", 10) is None
    assert shell.read(tmp_path / "no" / "such" / "file", 10) is None
    assert shell.read(tmp_path / "file" / "below", 10) is None


@pytest.mark.parametrize("kind", ["a symbolic link", "a pipe", "a directory", "a socket"])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(shell: Shell, tmp_path: Path, kind: str) -> None:
    (tmp_path / "target").write_text("untouched")
    path = tmp_path / "special"
    with socket.socket(socket.AF_UNIX) as server:
        make: dict[str, Callable[[], object]] = {
            "a symbolic link": lambda: path.symlink_to(tmp_path / "target"),
            "a pipe": lambda: os.mkfifo(path),
            "a directory": path.mkdir,
            "a socket": lambda: server.bind(os.path.relpath(path)),  # the name of a socket may have 107 bytes
        }
        make[kind]()
    mode = path.lstat().st_mode
    with pytest.raises(UnsafePath, match=f"special: {kind}, not a regular file"):
        shell.read(path, 100)
    with pytest.raises(UnsafePath, match=f"special: {kind}, not a regular file"):
        shell.write(path, b"new")
    assert path.lstat().st_mode == mode
    assert (tmp_path / "target").read_text() == "untouched"


def test_broken_link_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(UnsafePath, match="a symbolic link"):
        shell.read(tmp_path / "link", 10)
    with pytest.raises(UnsafePath, match="a symbolic link"):
        shell.write(tmp_path / "link", b"new")
    assert not (tmp_path / "missing").exists()


def test_directory_that_is_a_file_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "a" / "b"):
        with pytest.raises(UnsafePath):
            shell.write(path, b"new")
    assert (tmp_path / "file").read_text() == "old"


def test_linked_directory_is_followed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "real")
    shell.write(tmp_path / "scratch" / "a" / "file", b"new")
    assert (tmp_path / "real" / "a" / "file").read_bytes() == b"new"


def test_place_that_cannot_be_made_now_may_be_made_later(shell: Shell) -> None:
    with pytest.raises(ShellUnavailable):
        shell.write(Path("/proc/ccat-no-such-place/file"), b"x")  # a file system that makes nothing, even for root


@pytest.mark.parametrize("path", [Path("relative"), Path("/a\0b")])
def test_path_that_is_not_absolute_is_refused(shell: Shell, path: Path) -> None:
    with pytest.raises(UnsafePath, match="absolute"):
        shell.read(path, 10)
    with pytest.raises(UnsafePath, match="absolute"):
        shell.write(path, b"")


def test_many_threads_get_each_their_own_answer(shell: Shell, tmp_path: Path) -> None:
    def work(number: int) -> tuple[str, bytes | None]:
        shell.write(tmp_path / "new" / str(number), str(number).encode())
        said = shell.run(["sh", "-c", f"cat; echo {number}"], stdin=b"%d " % number).stdout
        return said, shell.read(tmp_path / "new" / str(number), 10)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(40))) == [(f"{n} {n}\n", b"%d" % n) for n in range(40)]
    if isinstance(shell, SshShell):
        assert shell.connections == 1


def test_it_works_again_after_close(shell: Shell) -> None:
    assert shell.run([sys.executable, "-V"]).exit_code == 0
    shell.close()
    shell.close()
    assert shell.run([sys.executable, "-V"]).exit_code == 0


def test_host_is_named(shell: Shell) -> None:
    assert shell.host == ("" if isinstance(shell, LocalShell) else "127.0.0.1")
