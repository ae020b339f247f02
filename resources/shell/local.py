import contextlib
import errno
import os
import selectors
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from resources.errors import ShellDoubtful, ShellUnavailable, UnsafePath
from resources.shell.port import Completed
from resources.shell.rules import (
    CHUNK_BYTES,
    OUTPUT_LIMIT_BYTES,
    READABLE_BY_ALL,
    checked_command,
    checked_path,
    completed,
    refuse_large,
    refuse_special,
)

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "SLURM_CONF")
_MACHINE_IS_FULL = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_NO_SUCH_PROGRAM = 127  # as in a POSIX shell (XCU 2.8.2), so that it is the same as over SSH
_NOT_EXECUTABLE = 126


class LocalShell:
    """Runs commands on this machine, with a minimal environment unless one is given."""

    def __init__(
        self, environment: Mapping[str, str] | None = None, output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    ) -> None:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = dict(inherited if environment is None else environment)
        self._output_limit_bytes = output_limit_bytes

    @property
    def host(self) -> str:
        """Return "": this machine."""
        return ""

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a command; at its time limit its process group is killed, and ShellDoubtful raised; see `Shell.run`."""
        words = checked_command(command)
        deadline = time.monotonic() + timeout_seconds
        try:
            process = self._start(words)
        except OSError as error:
            return _not_started(words[0], error)
        try:
            stdout, stderr = _exchange(process, stdin, deadline, self._output_limit_bytes)
            process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            _kill(process)
            raise ShellDoubtful(f"{words[0]}: killed, it did not end within {timeout_seconds:g} s") from error
        except OverflowError as error:
            _kill(process)
            raise ShellDoubtful(f"{words[0]}: killed, it wrote more than {error} bytes") from error
        except BaseException:
            _kill(process)
            raise
        finally:
            _close(process)
        code = process.returncode
        return completed(code if code >= 0 else 128 - code, stdout, stderr)

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Return a regular file's content, None where there is no file; raise UnsafePath for a larger or other one."""
        try:
            # Without O_NONBLOCK, opening a pipe waits for a writer.
            handle = os.open(checked_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _refuse(path, error)
        try:
            with os.fdopen(handle, "rb") as file:
                status = os.fstat(file.fileno())
                refuse_special(path, status.st_mode)
                refuse_large(path, status.st_size, limit_bytes)
                return file.read(status.st_size)
        except OSError as error:
            _refuse(path, error)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, readable by all, that is either whole or absent (rename); directories are made as needed."""
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                refuse_special(path, checked_path(path).lstat().st_mode)
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, content)
        except OSError as error:
            _refuse(path, error)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _start(self, words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
            bufsize=0,
        )


def _not_started(program: str, error: OSError) -> Completed:
    """Return what a shell would report for a program that cannot be started; raise ShellUnavailable otherwise."""
    if error.errno in _MACHINE_IS_FULL:
        raise ShellUnavailable(f"{program}: {error}") from error
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return Completed(_NO_SUCH_PROGRAM if missing else _NOT_EXECUTABLE, "", f"{program}: {error.strerror}\n")


def _exchange(process: subprocess.Popen[bytes], stdin: bytes, deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Write stdin of a process and read its outputs, all at once; raise TimeoutError or OverflowError."""
    assert process.stdin and process.stdout and process.stderr  # noqa: PT018 - all three are pipes
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    pending = memoryview(stdin)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for stream in outputs:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() >= deadline:
                raise TimeoutError
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                if key.fileobj is process.stdin:
                    pending = _feed(process.stdin, pending)
                    ended = not pending
                else:
                    ended = not _drain(key.fd, outputs[key.fileobj], limit)  # type: ignore[index]
                if ended:
                    selector.unregister(key.fileobj)
        return bytes(outputs[process.stdout]), bytes(outputs[process.stderr])


def _feed(stream: IO[bytes], pending: memoryview) -> memoryview:
    """Write as much as the program accepts now, return the rest; close the stream at the end or if it has no reader."""
    try:
        pending = pending[os.write(stream.fileno(), pending[:CHUNK_BYTES]) :] if pending else pending
    except BrokenPipeError:
        pending = pending[:0]
    if not pending:
        stream.close()
    return pending


def _drain(handle: int, output: bytearray, limit: int) -> bool:
    """Append what the program has written; return False at the end of the stream."""
    chunk = os.read(handle, CHUNK_BYTES)
    output += chunk
    if len(output) > limit:
        raise OverflowError(limit)
    return bool(chunk)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), READABLE_BY_ALL)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _refuse(path: Path, error: OSError) -> NoReturn:
    """Raise UnsafePath where the path itself is wrong, ShellUnavailable where the same call may succeed later."""
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            refuse_special(path, mode)
    if isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
        raise UnsafePath(f"{path}: {error.strerror}") from error
    raise ShellUnavailable(f"{path}: {error.strerror or error}") from error
