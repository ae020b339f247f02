"""The long options of sbatch(1) that a declaration may set besides its resources, and their allowed values."""

import re
from collections.abc import Mapping

from resources.errors import SubmissionRefused

# No pattern allows a newline, a blank or a quote.
_NAME = r"[A-Za-z0-9][\w.\-]*"
_NAMES = rf"{_NAME}(?:,{_NAME})*"
_NODES = r"[A-Za-z0-9][\w.\-,\[\]]*"
_MEMORY = r"\d+[KMGT]?"
_COUNTED = r"[A-Za-z0-9][\w.\-:,=]*"  # name[:type]:count, …
_CONSTRAINT = r"[A-Za-z0-9\[(][\w.\-&|*,()\[\]]*"
_VALUES: Mapping[str, str] = {
    "account": _NAME,
    "cluster-constraint": _CONSTRAINT,
    "constraint": _CONSTRAINT,
    "distribution": r"[a-zA-Z:,*]+",
    "exclude": _NODES,
    "exclusive": r"(?:True|user|mcs)?",
    "gpus-per-task": _COUNTED,
    "gres": _COUNTED,
    "gres-flags": r"[a-z\-]+",
    "hint": r"compute_bound|memory_bound|multithread|nomultithread",
    "licenses": r"[A-Za-z0-9][\w.\-@:,|]*",
    "mail-type": r"[A-Z][A-Z0-9_,]*",
    "mail-user": r"[\w.+\-]+(?:@[\w.\-]+)?",
    "mem-per-cpu": _MEMORY,
    "nice": r"-?\d+",
    "nodelist": _NODES,
    "partition": _NAMES,
    "prefer": _CONSTRAINT,
    "qos": _NAME,
    "reservation": _NAMES,
    "sockets-per-node": r"\d+",
    "switches": r"\d+(?:@[\d:\-]+)?",
    "threads-per-core": r"\d+",
    "tmp": _MEMORY,
    "wckey": _NAME,
}


def problem_of(name: str, value: str) -> str | None:
    """Return what is wrong with an option, None if it is allowed."""
    pattern = _VALUES.get(name)
    if pattern is None:
        return f"{name!r} is not an option for Slurm; there are {', '.join(_VALUES)}"
    if not re.fullmatch(pattern, value, re.ASCII):
        return f"{name}={value!r} does not look like {pattern}"
    return None


def check(options: Mapping[str, str]) -> None:
    """Raise ValueError naming the first option of a declaration that may not be set."""
    for name, value in options.items():
        problem = problem_of(name, value)
        if problem is not None:
            raise ValueError(problem)


def option_lines(options: Mapping[str, str], place: str) -> list[str]:
    """Return options as arguments of sbatch; raise SubmissionRefused for one that is not allowed.

    `place` says in the message where the option was set.
    """
    for name, value in sorted(options.items()):
        problem = problem_of(name, value)
        if problem is not None:
            raise SubmissionRefused(f"{place}: {problem}")
    return [f"--{name}" if value in ("", "True") else f"--{name}={value}" for name, value in sorted(options.items())]
