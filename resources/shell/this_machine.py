"""Processes and ports of this machine."""

import socket
import subprocess
from collections.abc import Sequence


def start_child_process(command: Sequence[str]) -> None:
    """Start a program as a child process and return; the program has to end by itself when this process does."""
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def free_port(wanted: int) -> int:
    """Return the wanted port if it is free on the loopback interface; otherwise, and for 0, another free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")
