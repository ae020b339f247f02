"""Signals to the wrapper, and a guard that ends the program's process group if the wrapper dies."""

import os
import select
import signal
from typing import Optional

from resources.node.children import kill_group


class Signals:
    """SIGTERM, SIGINT and SIGCHLD as bytes in a pipe, so that none is lost between a check and the next wait."""

    def __init__(self) -> None:
        self.asked_to_stop = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)

    def wait(self, seconds: Optional[float]) -> None:
        """Return at the next signal, or after this many seconds."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return
        if {int(signal.SIGTERM), int(signal.SIGINT)} & set(os.read(self._reader, 4096)):
            self.asked_to_stop = True


class Guard:
    """Kills the program's process group when the wrapper dies; PR_SET_PDEATHSIG would reach its first process only."""

    def __init__(self, group: int) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(reader)
            return
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            os.close(self._writer)
            if os.read(reader, 1) == b"":
                kill_group(group, signal.SIGKILL)
        finally:
            os._exit(0)

    def dismiss(self) -> None:
        """End the guard without killing anything."""
        os.write(self._writer, b"x")
        os.close(self._writer)
        os.waitpid(self._pid, 0)
