"""Why a program failed: from its exit code, its last line on stderr, and what the kernel says of memory."""

import os
import re
from typing import Any, Dict, Optional

from resources.node.wrapper.outputs import READ_NO_LINK

APPTAINER_FAILED = 255  # apptainer's own exit code for a missing image, bind source or command
APPTAINER_WORDS = (  # what is missing or broken, and how apptainer 1.4 says so
    ("image", "could not open image|while mounting image"),
    ("bind source", "mount source .* doesn't exist"),
    ("command", "executable file not found|^(stat|exec) .*: no such file|^permission denied$|^is a directory$"),
)


def last_words(directory: bytes) -> str:
    """Return the last line on standard error that is not empty, without control sequences; at most 500 characters."""
    try:
        with open(os.open(os.path.join(directory, b"logs", b"stderr.log"), READ_NO_LINK), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    plain = ("".join(filter(str.isprintable, re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", line))) for line in lines)
    return ([line.strip() for line in plain if line.strip()] or [""])[-1][:500]


def launch_failure(words: str) -> Optional[str]:
    """Return why apptainer could not start the program, None if the line is not an error of apptainer."""
    if not words.startswith("FATAL:   "):
        return None
    fatal = words[len("FATAL:   ") :]
    missing = [name for name, pattern in APPTAINER_WORDS if re.search(pattern, fatal)]
    return "%s: %s" % (missing[0], fatal) if missing else words


def explain(report: Dict[str, Any], shortage: Optional[str], words: str, contained: bool) -> None:
    """Add to the report why a program failed that was not stopped by the wrapper."""
    code = report["exit_code"]
    fatal = launch_failure(words) if contained and code == APPTAINER_FAILED else None
    if fatal:
        report.update(outcome="launch_failed", message=fatal)
    elif shortage:
        report.update(outcome="out_of_memory", message=shortage)
    else:
        end = "killed by signal %d" % report["signal"] if code is None else "exit code %d" % code
        report["message"] = end + (": " + words if words else "")
