import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import paramiko
from paramiko.sftp import SFTPError

from resources.errors import HostNotTrusted, ShellUnavailable, TransientError
from resources.shell.ssh_target import SshTarget, credentials, known_keys

_LOG = "resources.shell.ssh.paramiko"
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_NO_ANSWER = "Authentication timeout."  # its class is raised by paramiko.auth_handler for a refusal, too
# Raised by paramiko, by a socket, and at the end of a stream; an OSError may also be a reply of the SFTP server.
BROKEN = (paramiko.SSHException, SFTPError, EOFError, OSError)


@contextmanager
def translated(host: str, doing: str, kind: type[TransientError]) -> Iterator[None]:
    """Translate everything that a connection raises into `kind`; `doing` says in the message what was tried."""
    try:
        yield
    except BROKEN as error:
        raise kind(f"{host}: {doing}: {str(error) or type(error).__name__}") from error


@contextmanager
def watched(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    """Close the connection if the block does not end in time: many calls of paramiko have no time limit."""
    watchdog = threading.Timer(max(0.0, seconds), transport.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


class BackOff:
    """The wait before a machine that could not be reached is tried again: 1 s, doubling up to 60 s, less jitter.

    After HostNotTrusted it is 60 s at once: repeated refusals of credentials lock accounts.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._next_wait_seconds = _FIRST_WAIT_SECONDS
        self._closed_until = 0.0
        self._error: ShellUnavailable | None = None

    def check(self) -> None:
        """Raise the last error again while it is too early for another try."""
        left = self._closed_until - self._clock()
        if self._error is not None and left > 0:
            raise type(self._error)(f"{self._error}; not tried again for {left:.1f} s") from self._error

    def failed(self, error: ShellUnavailable) -> None:
        """Record a failure, and double the wait for the next."""
        wait = _LONGEST_WAIT_SECONDS if isinstance(error, HostNotTrusted) else self._next_wait_seconds
        self._next_wait_seconds = min(2 * wait, _LONGEST_WAIT_SECONDS)
        self._closed_until = self._clock() + wait * (1 - self._jitter() / 2)
        self._error = error

    def succeeded(self) -> None:
        """Forget all failures."""
        self._next_wait_seconds, self._error = _FIRST_WAIT_SECONDS, None


class SshConnection:
    """One connection, opened when it is needed, through a jump host if there is one, and shared by all threads."""

    def __init__(
        self,
        target: SshTarget,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.connections = 0
        self._target = target
        self._jump = SshConnection(target.jump, clock, jitter) if target.jump else None
        self._back_off = BackOff(clock, jitter)
        self._lock = threading.Lock()
        self._transport: paramiko.Transport | None = None

    def transport(self) -> paramiko.Transport:
        """Return the live connection, after connecting again if needed; raise ShellUnavailable or HostNotTrusted."""
        with self._lock:
            if self._transport is not None and self._transport.is_active():
                return self._transport
            self._back_off.check()
            try:
                self._transport = self._connect()
            except ShellUnavailable as error:
                self._back_off.failed(error)
                raise
            self._back_off.succeeded()
            return self._transport

    def close(self) -> None:
        """Close the connection, then the jump host's."""
        with self._lock:
            if self._transport is not None:
                self._transport.close()
            self._transport = None
        if self._jump is not None:
            self._jump.close()

    def _connect(self) -> paramiko.Transport:
        target = self._target
        trusted = known_keys(target)
        with credentials(target) as offered, translated(target.host, "cannot be reached", ShellUnavailable):
            transport = self._new_transport()
            try:
                _prefer(transport, trusted)
                transport.start_client(timeout=target.connect_timeout_seconds)
                _check_host(transport.get_remote_server_key(), trusted, target)
                _authenticate(transport, offered, target)
            except BaseException:
                transport.close()
                raise
            transport.set_keepalive(target.keepalive_seconds)
            return transport

    def _new_transport(self) -> paramiko.Transport:
        logging.getLogger(_LOG).setLevel(logging.CRITICAL)  # it logs, with tracebacks, what it also raises
        seconds = self._target.connect_timeout_seconds
        transport = paramiko.Transport(self._socket(seconds))
        transport.set_log_channel(_LOG)
        transport.banner_timeout = transport.handshake_timeout = seconds
        transport.auth_timeout = transport.channel_timeout = seconds
        return transport

    def _socket(self, seconds: float) -> socket.socket | paramiko.Channel:
        """Return a new TCP connection, or a tunnel through the jump host."""
        address = (self._target.host, self._target.port)
        if self._jump is None:
            wire = socket.create_connection(address, seconds)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or every small message waits up to 40 ms
            self.connections += 1
            return wire
        jump = self._jump.transport()
        with watched(jump, seconds + 1):
            tunnel = jump.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=seconds)
        self.connections += 1
        return tunnel


def _prefer(transport: paramiko.Transport, trusted: Sequence[paramiko.PKey]) -> None:
    """Prefer host keys of the types that are trusted: the machine may have keys of several types."""
    kinds = {key.get_name() for key in trusted}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda kind: _key_name(kind) not in kinds)


def _key_name(kind: str) -> str:
    return "ssh-rsa" if kind.startswith("rsa-sha2-") else kind


def _check_host(shown: paramiko.PKey, trusted: Sequence[paramiko.PKey], target: SshTarget) -> None:
    if shown not in trusted:
        raise HostNotTrusted(
            f"{target.host}: shows the host key {shown.get_name()} {shown.fingerprint}, which is not in"
            f" {target.known_hosts}: ask the machine's operators whether it was changed, then replace the line of"
            f" {target.known_as}; nothing was sent to it"
        )


def _authenticate(transport: paramiko.Transport, offered: Sequence[paramiko.PKey], target: SshTarget) -> None:
    for key in offered:
        try:
            still_asked_for = transport.auth_publickey(target.user, key)
        except paramiko.BadAuthenticationType as error:
            _refuse(target, f"it takes no public keys, only {', '.join(error.allowed_types)}")
        except paramiko.AuthenticationException as error:
            if not transport.is_active() or str(error) == _NO_ANSWER:
                raise
            continue
        if still_asked_for:
            _refuse(target, f"it asks for a second proof: {', '.join(still_asked_for)}")
        return
    _refuse(target, f"none of {', '.join(key.fingerprint for key in offered)} is among its authorized_keys")


def _refuse(target: SshTarget, reason: str) -> NoReturn:
    raise HostNotTrusted(f"{target.account}: our credentials are refused: {reason}")


def is_alive(transport: paramiko.Transport, within_seconds: float) -> bool:
    """Say whether the machine answers within this time; if not, close the connection."""
    try:
        with watched(transport, within_seconds):
            transport.global_request("keepalive@openssh.com", wait=True)
    except BROKEN:  # paramiko's reading thread may not have noticed yet, and would report the connection as active
        transport.close()
    return transport.is_active()
