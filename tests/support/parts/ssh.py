import time

from resources.shell.ssh import SshShell, SshTarget


class Clock:
    """A clock that advances only on request; shells wait on it between trials to connect."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def connect(target: SshTarget, clock: Clock | None = None) -> SshShell:
    """Return a shell that waits between trials as long as it may, without jitter."""
    return SshShell(target, clock or time.monotonic, jitter=lambda: 0.0)


def works(shell: SshShell) -> bool:
    """Run a command and say whether its answer is right."""
    return shell.run(["echo", "here"]).stdout == "here\n"


def is_connected(shell: SshShell) -> bool:
    """Say whether the shell considers its connection alive."""
    transport = shell._connection._transport
    return transport is not None and transport.is_active()
