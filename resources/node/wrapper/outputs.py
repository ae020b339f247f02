"""The files in an attempt's output directory: path, type, size and sha256 of each."""

import os
import stat
from typing import Any, Dict, Iterator, List, Tuple

from resources.node.files import measure

DIRECTORY_TYPES = {
    "science": "science",
    "qa": "qa_metric",
    "plots": "plot",
    "statistics": "statistics",
    "logs": "log",
    "intermediate": "intermediate",
}
READ_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def walk(directory: bytes, relative: bytes) -> Iterator[Tuple[bytes, int]]:
    """Yield path and mode of everything below a directory except directories, sorted; links are not followed."""
    for name in sorted(os.listdir(os.path.join(directory, relative))):
        path = os.path.join(relative, name)
        mode = os.lstat(os.path.join(directory, path)).st_mode
        if stat.S_ISDIR(mode):
            yield from walk(directory, path)
        else:
            yield path, mode


def link_warning(directory: bytes, path: bytes, report: Dict[str, Any]) -> None:
    """Add a warning about a link to the report; a link that leads out of the attempt's directory fails the attempt."""
    shown, base = path.decode("utf-8", "replace"), os.path.realpath(directory)
    report["warnings"].append("symbolic link %s not followed" % shown)
    if not os.path.realpath(os.path.join(directory, path)).startswith(os.path.join(base, b"")):
        message = "symbolic link %s points outside of the attempt's directory" % shown
        report.update(outcome="failed", message=message)


def collect(directory: bytes, output: bytes, report: Dict[str, Any]) -> None:
    """Add path, type, size and sha256 of every output file to the report."""
    root = os.path.join(directory, output)
    if os.path.realpath(root) != os.path.join(os.path.realpath(directory), output):
        link_warning(directory, output, report)
        return
    if not os.path.isdir(root):
        report["warnings"].append("output directory %s is missing" % output.decode("utf-8"))
        return
    for path, mode in walk(directory, output):
        shown = path.decode("utf-8", "replace")
        if stat.S_ISLNK(mode):
            link_warning(directory, path, report)
        elif not stat.S_ISREG(mode):
            report["warnings"].append("%s is not a file, ignored" % shown)
        elif shown.encode("utf-8") != path:
            report.update(outcome="failed", message="the name of output %s is not UTF-8" % shown)
        else:
            report["outputs"].append(describe(directory, output, path, report["warnings"]))


def describe(directory: bytes, output: bytes, path: bytes, warnings: List[str]) -> Dict[str, Any]:
    """Return the entry of one output file in the report."""
    first, slash, _ = path[len(output) + 1 :].decode("utf-8").partition("/")
    kind = DIRECTORY_TYPES.get(first) if slash else None
    if kind is None:
        warnings.append("%s is outside the known directories, taken as intermediate" % path.decode("utf-8"))
    size, digest = measured(os.path.join(directory, path))
    return {"path": path.decode("utf-8"), "type": kind or "intermediate", "size_bytes": size, "sha256": digest}


def measured(path: bytes) -> Tuple[int, str]:
    """Return size and sha256 of a file that is not a link."""
    with open(os.open(path, READ_NO_LINK), "rb", 0) as file:
        return measure(file)
