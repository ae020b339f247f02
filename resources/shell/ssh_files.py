import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko.sftp import CMD_EXTENDED

from resources.errors import ShellDoubtful, ShellUnavailable, UnsafePath
from resources.shell.rules import READABLE_BY_ALL, checked_path, refuse_large, refuse_special
from resources.shell.ssh_connection import translated

_UNSUPPORTED = "unsupported"  # part of sftp-server's reply to an unknown extension: "Operation unsupported"


class SshFiles:
    """The files of a machine, over an SFTP channel."""

    def __init__(self, host: str, channel: paramiko.Channel) -> None:
        self._host = host
        self._channel = channel
        with translated(host, "SFTP", ShellUnavailable):
            channel.invoke_subsystem("sftp")
            self._sftp = paramiko.SFTPClient(channel)

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Return a regular file's content, None where there is no file; see `Shell.read`."""
        name = os.fsencode(checked_path(path))
        with translated(self._host, f"reading {path}", ShellUnavailable), self._answers(path):
            mode = self._mode(name)
            if mode is None:
                return None
            refuse_special(path, mode)
            with self._sftp.open(name, "rb") as file:
                status = file.stat()
                refuse_special(path, status.st_mode or 0)
                size = status.st_size or 0
                refuse_large(path, size, limit_bytes)
                content = file.read(size)
        if len(content) != size:  # BufferedFile.read of paramiko takes a broken connection for the end of the file
            raise ShellUnavailable(f"{self._host}: reading {path}: {len(content)} of {size} bytes came")
        return content

    def write(self, path: Path, content: bytes) -> None:
        """Write a file under a temporary name, then rename it; directories are made as needed."""
        name, directory = os.fsencode(checked_path(path)), os.fsencode(path.parent)
        temporary = os.path.join(directory, os.fsencode(f".{path.name}-{secrets.token_hex(8)}"))  # noqa: PTH118 - bytes
        with translated(self._host, f"writing {path}", ShellDoubtful), self._answers(path):
            mode = self._mode(name)
            if mode is not None:
                refuse_special(path, mode)
            self._make_directories(path.parent)
            try:
                self._store(temporary, content)
                self._sftp.posix_rename(temporary, name)
            except OSError:
                if not self._is_broken():
                    with contextlib.suppress(OSError):
                        self._sftp.remove(temporary)
                raise

    def _store(self, name: bytes, content: bytes) -> None:
        # Not pipelined, as paramiko would ignore the replies to the last writes.
        with self._sftp.open(name, "wbx", bufsize=0) as file:
            file.write(content)
            file.flush()
            file.chmod(READABLE_BY_ALL)
            try:
                self._sftp._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)  # type: ignore[attr-defined] # noqa: SLF001 - paramiko has no public fsync
            except OSError as error:
                if _UNSUPPORTED not in str(error):
                    raise

    def _make_directories(self, directory: Path) -> None:
        name = os.fsencode(directory)
        try:
            self._sftp.stat(name)
        except FileNotFoundError:
            self._make_directories(directory.parent)
            with contextlib.suppress(OSError):  # another process may have made it meanwhile
                self._sftp.mkdir(name)
        if not stat.S_ISDIR(self._sftp.stat(name).st_mode or 0):
            raise UnsafePath(f"{directory}: not a directory")

    def _mode(self, name: bytes) -> int | None:
        try:
            return self._sftp.lstat(name).st_mode or 0
        except FileNotFoundError:
            return None

    def _is_broken(self) -> bool:
        return bool(self._channel.closed or self._channel.eof_received)

    @contextmanager
    def _answers(self, path: Path) -> Iterator[None]:
        """Translate replies of the server into UnsafePath or ShellUnavailable.

        A broken connection raises OSError, too: it is raised again as it is.
        """
        try:
            yield
        except PermissionError as error:
            raise UnsafePath(f"{path}: {error.strerror}") from error
        except TimeoutError:
            raise
        except OSError as error:
            if self._is_broken():
                raise
            raise ShellUnavailable(f"{self._host}: {path}: {error.strerror or error}") from error
