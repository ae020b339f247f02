import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey
from paramiko.pkey import UnknownKeyType
from pydantic import SecretStr

from resources.errors import HostNotTrusted

_SSH_PORT = 22


@dataclass(frozen=True)
class SshTarget:
    """An account on a machine: its address, the host keys that we trust, and our credentials."""

    host: str
    user: str
    known_hosts: Path
    port: int = _SSH_PORT
    key_file: Path | None = None
    passphrase: SecretStr | None = None
    use_agent: bool = False
    jump: "SshTarget | None" = None
    sessions: int = 4  # at the same time over the one connection; MaxSessions of sshd is 10 by default
    connect_timeout_seconds: float = 10.0  # for each of: TCP, banner, key exchange, authentication, opening a channel
    keepalive_seconds: float = 15.0
    idle_timeout_seconds: float = 30.0  # how long a transfer may pause
    transfer_timeout_seconds: float = 300.0

    @property
    def known_as(self) -> str:
        """Return the name under which known_hosts has the machine."""
        return self.host if self.port == _SSH_PORT else f"[{self.host}]:{self.port}"

    @property
    def account(self) -> str:
        """Return user@host, for messages."""
        return f"{self.user}@{self.host}"


def known_keys(target: SshTarget) -> list[paramiko.PKey]:
    """Return all keys that known_hosts has for the machine; raise HostNotTrusted where there is none.

    Several keys of one type are normal: a name may belong to several login nodes.
    """
    try:
        lines = target.known_hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise HostNotTrusted(f"{target.host}: known_hosts {target.known_hosts}: {error.strerror}") from error
    keys = [entry.key for entry in map(_entry, lines) if entry and _names(entry, target.known_as)]
    if not keys:
        raise HostNotTrusted(
            f"{target.host}: no usable line for {target.known_as} in {target.known_hosts}: compare the output of"
            f" `ssh-keyscan -p {target.port} {target.host}` with what the machine's operators publish, then add it"
        )
    return keys


@contextmanager
def credentials(target: SshTarget) -> Iterator[list[paramiko.PKey]]:
    """Give the keys to offer: the key file's, then the agent's; raise HostNotTrusted where there is none."""
    keys = [_load_key(target.key_file, target.passphrase)] if target.key_file else []
    agent = paramiko.Agent() if target.use_agent else None
    try:
        keys += agent.get_keys() if agent else ()
        if not keys:
            raise HostNotTrusted(f"{target.account}: no key to offer: name a key file, or load one into the SSH agent")
        yield keys
    finally:
        if agent:
            agent.close()


def _entry(line: str) -> HostKeyEntry | None:
    """Return the entry in a line of known_hosts, None for an invalid one or one with a marker such as @revoked."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    try:
        return HostKeyEntry.from_line(line)
    except (InvalidHostKey, paramiko.SSHException, ValueError):  # an invalid line does not affect the others
        return None


def _names(entry: HostKeyEntry, name: str) -> bool:
    if any(pattern[0] == "!" and fnmatch.fnmatchcase(name, pattern[1:]) for pattern in entry.hostnames if pattern):
        return False
    return any(_matches(pattern, name) for pattern in entry.hostnames)


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return HostKeys.hash_host(name, pattern) == pattern
    return pattern == name or fnmatch.fnmatchcase(name, pattern)  # fnmatch reads [host]:port as a set of letters


def _load_key(path: Path, passphrase: SecretStr | None) -> paramiko.PKey:
    secret = passphrase.get_secret_value().encode() if passphrase else None
    try:
        return paramiko.PKey.from_path(path, secret)  # type: ignore[arg-type]  # cryptography wants bytes
    except (OSError, ValueError, TypeError, UnknownKeyType, paramiko.SSHException) as error:
        # TypeError: encrypted without a passphrase, or the reverse. No cause is chained: it may quote the passphrase.
        reason = (
            error.strerror if isinstance(error, OSError) else f"wrong passphrase or format ({type(error).__name__})"
        )
        raise HostNotTrusted(f"key file {path} cannot be used: {reason}") from None
