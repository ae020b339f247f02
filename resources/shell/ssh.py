import contextlib
import os
import random
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paramiko

from resources.errors import ShellDoubtful, ShellUnavailable, TransientError
from resources.shell.port import Completed
from resources.shell.rules import CHUNK_BYTES, OUTPUT_LIMIT_BYTES, checked_command, checked_path, completed
from resources.shell.ssh_connection import BROKEN, SshConnection, is_alive, translated, watched
from resources.shell.ssh_files import SshFiles
from resources.shell.ssh_target import SshTarget

__all__ = ["SshShell", "SshTarget"]

_ANSWER_SECONDS = 2.0
# A server reports an end by a signal in a message that paramiko ignores. A shell that waits for the program turns it
# into an exit code. `env`, so that the shell does not run a builtin of the same name.
_WAIT_FOR = ("sh", "-c", 'env -- "$@"; exit $?', "sh")


class SshShell:
    """Runs commands and moves files on a machine reached by SSH, over one connection."""

    def __init__(
        self,
        target: SshTarget,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> None:
        self._target = target
        self._connection = SshConnection(target, clock, jitter)
        self._output_limit_bytes = output_limit_bytes
        self._turns = threading.BoundedSemaphore(target.sessions)
        self._busy = 0
        self._count = threading.Lock()

    @property
    def host(self) -> str:
        """Return the machine's name."""
        return self._target.host

    @property
    def connections(self) -> int:
        """Return how many connections were opened so far."""
        return self._connection.connections

    def run(self, command: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        """Run a command; see `Shell.run`. After the time limit it may still be running."""
        words = checked_command(command)
        line = os.fsencode(shlex.join([*_WAIT_FOR, *words]))
        deadline = time.monotonic() + timeout_seconds
        doing = f"{words[0]} (within {timeout_seconds:g} s)"
        with self._session(timeout_seconds) as (channel, transport):
            with translated(self.host, doing, ShellDoubtful):
                with watched(transport, deadline - time.monotonic()):
                    channel.exec_command(line)
                stdout, stderr = self._exchange(channel, stdin, deadline)
            # sshd may send the exit status before the end of the output: the command has ended only with both.
            if channel.exit_status < 0 or not channel.eof_received:
                raise ShellDoubtful(f"{self.host}: {doing}: the connection ended before the command was known to end")
            return completed(channel.exit_status, stdout, stderr)

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """Return a regular file's content, None where there is no file; raise UnsafePath for a larger or other one."""
        checked_path(path)
        with self._files() as files:
            return files.read(path, limit_bytes)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, readable by all, that is either whole or absent (rename); directories are made as needed."""
        checked_path(path)
        with self._files() as files:
            files.write(path, content)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._connection.close()

    def _exchange(self, channel: paramiko.Channel, stdin: bytes, deadline: float) -> tuple[bytes, bytes]:
        """Write stdin of a command and read its outputs, all at once, until they end and its status is known."""
        stdout = _Drain(channel, channel.recv, self._output_limit_bytes)
        stderr = _Drain(channel, channel.recv_stderr, self._output_limit_bytes)
        for thread in (stdout, stderr, threading.Thread(target=_feed, args=(channel, stdin), daemon=True)):
            thread.start()
        stdout.join(max(0.0, deadline - time.monotonic()))
        stderr.join(max(0.0, deadline - time.monotonic()))
        for drain in (stdout, stderr):
            if drain.problem is not None:
                raise drain.problem
        is_ended = channel.status_event.wait(max(0.0, deadline - time.monotonic()))
        if not is_ended or stdout.is_alive() or stderr.is_alive():
            raise TimeoutError("it did not end in time")
        return bytes(stdout.content), bytes(stderr.content)

    def _open(self, transport: paramiko.Transport, seconds: float) -> paramiko.Channel:
        limit = min(seconds, self._target.connect_timeout_seconds)
        with translated(self.host, "opening a channel", ShellUnavailable):
            try:
                with watched(transport, limit + _ANSWER_SECONDS):
                    return transport.open_session(timeout=limit)
            except paramiko.ChannelException:
                # sshd counts an abandoned command as a session until it ends; a new connection starts at zero.
                if self._busy == 1:
                    transport.close()
                raise
            except BROKEN:
                transport.close()
                raise

    @contextmanager
    def _files(self) -> Iterator[SshFiles]:
        seconds = self._target.transfer_timeout_seconds
        with self._session(seconds) as (channel, transport):
            channel.settimeout(self._target.idle_timeout_seconds)
            with watched(transport, self._target.connect_timeout_seconds):
                files = SshFiles(self.host, channel)
            with watched(transport, seconds):
                yield files

    @contextmanager
    def _session(self, seconds: float) -> Iterator[tuple[paramiko.Channel, paramiko.Transport]]:
        """Give a new channel of the shared connection; if the block fails and the machine is silent, close that."""
        with self._turn(seconds):
            transport = self._connection.transport()
            channel = self._open(transport, seconds)
            try:
                yield channel, transport
            except TransientError:
                _let_go(channel, transport)
                is_alive(transport, _ANSWER_SECONDS)
                raise
            finally:
                _let_go(channel, transport)

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        if not self._turns.acquire(timeout=seconds):
            raise ShellUnavailable(f"{self.host}: {self._target.sessions} calls were at work for {seconds:g} s")
        try:
            with self._count:
                self._busy += 1
            yield
        finally:
            with self._count:
                self._busy -= 1
            self._turns.release()


class _Drain(threading.Thread):
    """Reads a whole output stream into `content`; above the limit it closes the channel and sets `problem`."""

    def __init__(self, channel: paramiko.Channel, receive: Callable[[int], bytes], limit_bytes: int) -> None:
        super().__init__(daemon=True)
        self.content = bytearray()
        self.problem: Exception | None = None
        self._channel = channel
        self._receive = receive
        self._limit_bytes = limit_bytes

    def run(self) -> None:
        """Read until the stream or the connection ends, or the limit is exceeded."""
        try:
            while chunk := self._receive(CHUNK_BYTES):
                self.content += chunk
                if len(self.content) > self._limit_bytes:
                    self.problem = EOFError(f"it wrote more than {self._limit_bytes} bytes")
                    self._channel.close()
                    return
        except BROKEN as error:  # paramiko acknowledges data in recv; if that fails, the data is lost
            self.problem = self.problem or error


def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
    """Write a program's stdin; it is no error if the program has ended or closed the stream before."""
    with contextlib.suppress(*BROKEN):
        channel.sendall(stdin)
        channel.shutdown_write()


def _let_go(channel: paramiko.Channel, transport: paramiko.Transport) -> None:
    with watched(transport, _ANSWER_SECONDS), contextlib.suppress(*BROKEN):
        channel.close()
