"""Detached processes, which outlive the one that starts them, and how this package starts itself in a new process."""

import os
import subprocess
import sys
from typing import Callable, List, Tuple

# From the module's loader: the zipapp's path (zipimport), its bytes (`sent.py`), or None (imported from sources).
_ARCHIVE = getattr(globals()["__loader__"], "archive", None)
if isinstance(_ARCHIVE, str):
    _ARCHIVE = os.path.abspath(_ARCHIVE)  # before anything changes the working directory


def own_command(words: List[str]) -> Tuple[List[str], bytes]:
    """Return the command that starts this package with these arguments, and what its stdin has to begin with."""
    if isinstance(_ARCHIVE, str):
        return [sys.executable, "-I", "-S", _ARCHIVE, *words], b""
    from resources.node import zipapp  # noqa: PLC0415 - it imports much, and an installed zipapp never needs it

    return zipapp.sent_command(sys.executable, words, _ARCHIVE)


def start_alone(words: List[str]) -> None:
    """Start this package with these arguments in a detached process, which holds none of our streams."""
    command, stdin = own_command(words)
    shell = ["/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- >/dev/null 2>&1 &', "sh", *command]
    subprocess.run(shell, input=stdin, check=True, start_new_session=True, cwd="/")


def detach(work: Callable[[], None]) -> None:
    """Do the work in a detached fork, which holds none of our streams; not to be used in a process with threads."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            os.chdir("/")
            work()
    finally:
        os._exit(0)
