"""Child processes: end them when their parent ends, and signal a whole process group."""

import contextlib
import ctypes
import os
import signal
from typing import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn`, by which the kernel sends the child this signal when this process ends."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group; do nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
