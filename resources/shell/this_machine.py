"""Processes, signals and ports of this machine."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence

_LOOK_EVERY_SECONDS = 0.2
_AT_REST = (signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler)


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


def stop_ignoring_interrupts() -> None:
    """Let SIGINT and SIGTERM interrupt this process again if they are ignored; do nothing outside the main thread.

    A program that a script starts with `&`, or that nohup or cron start, inherits SIGINT as ignored. Dagster treats
    SIGTERM as it treats SIGINT, and the programs that it starts inherit both.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # Python refuses to change signal handlers there
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def stop_ignoring_interrupts_soon() -> None:
    """Do the same once the present caller, who has put a handler of SIGINT in place for a while, has removed it.

    Dagster has such a handler while it loads definitions, and then lets SIGINT be ignored as before. A thread waits for
    that and sends SIGURG to this process: only the main thread can change handlers, and it is not ours by then. Where
    SIGURG has a handler already, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGURG) != signal.SIG_DFL:
        return
    signal.signal(signal.SIGURG, _once_at_rest)
    threading.Thread(target=_wake_main_thread, daemon=True).start()


def _wake_main_thread() -> None:
    while signal.getsignal(signal.SIGURG) is _once_at_rest:
        time.sleep(_LOOK_EVERY_SECONDS)
        if signal.getsignal(signal.SIGINT) in _AT_REST:
            os.kill(os.getpid(), signal.SIGURG)


def _once_at_rest(_number: int, _frame: object) -> None:
    if signal.getsignal(signal.SIGINT) in _AT_REST:
        signal.signal(signal.SIGURG, signal.SIG_DFL)  # without a handler it is ignored
        stop_ignoring_interrupts()
