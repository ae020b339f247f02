"""Names of processes that hold leases; they tell other processes of the same host that the holder has died."""

import os
import socket
import uuid

import psutil


def own_name() -> str:
    """Return a name for this process: host, process id, its start time, and something random."""
    started = int(psutil.Process().create_time())
    return f"{socket.gethostname()}:{os.getpid()}:{started}:{uuid.uuid4().hex[:8]}"


def is_gone(name: str) -> bool:
    """Say whether the named process is certainly gone; False for a process of another host."""
    host, _, rest = name.partition(":")
    pid, started, *_ = [*rest.split(":"), "", ""]
    if host != socket.gethostname() or not pid.isdigit() or not started.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        # one second of slack: the start time is computed from the boot time
        return process.status() == psutil.STATUS_ZOMBIE or abs(int(process.create_time()) - int(started)) > 1
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
