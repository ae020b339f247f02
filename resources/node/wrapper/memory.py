"""Find out whether the kernel killed processes for lack of memory, from the memory cgroup of this process."""

import os
import re
from typing import Dict, Optional, Tuple

MEMORY_FILES = {1: ("memory.oom_control", "memory.limit_in_bytes"), 2: ("memory.events", "memory.max")}
NO_MEMORY_LIMIT = 1 << 62  # version 1 writes "none" as the largest number of whole pages


class MemoryCgroup:
    """The memory cgroup of this process, if it can be seen, and its count of kills when this object was made."""

    def __init__(self) -> None:
        self.place = memory_cgroup(read_text("/proc/self/cgroup"), read_text("/proc/self/mountinfo"))
        self._killed_before = self._killed()

    def shortage(self) -> Optional[str]:
        """Return a message if the kernel has killed for lack of memory since this object was made, else None."""
        killed = self._killed()
        if self.place is None or killed is None or self._killed_before is None or killed <= self._killed_before:
            return None
        (place, root, version), limits = self.place, []
        while place.startswith(root):
            text = read_text(os.path.join(place, MEMORY_FILES[version][1])).strip()
            limits += [int(text)] if text.isdigit() else []
            place = os.path.dirname(place)
        if min(limits, default=NO_MEMORY_LIMIT) >= NO_MEMORY_LIMIT:
            return "out of memory: killed by the kernel, without a limit of its own"
        return "out of memory: killed by the kernel at the limit of %d bytes" % min(limits)

    def _killed(self) -> Optional[int]:
        if self.place is None:
            return None
        text = read_text(os.path.join(self.place[0], MEMORY_FILES[self.place[2]][0]))
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(found.group(1)) if found else None


def memory_cgroup(cgroups: str, mounts: str) -> Optional[Tuple[str, str, int]]:
    """Return directory, root directory and version of this process's memory cgroup, None if there is none.

    `cgroups` is the text of /proc/self/cgroup (cgroups(7)), `mounts` that of /proc/self/mountinfo (proc(5)). Where
    both versions are mounted, version 1 has the memory controller.
    """
    paths: Dict[int, str] = {}
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            paths[1 if controllers else 2] = path
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        (top, mount), (kind, _, options) = left.split(" ")[3:5], right.split(" ")[:3]
        version = 2 if kind == "cgroup2" else int(kind == "cgroup" and "memory" in options.split(","))
        path, top = os.path.join(paths.get(version, ""), ""), os.path.join(top, "")
        if version == min(paths, default=0) and path.startswith(top) and "/../" not in path:
            return os.path.join(mount, path[len(top) :]).rstrip("/"), mount, version
    return None


def read_text(path: str) -> str:
    """Return a small file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
