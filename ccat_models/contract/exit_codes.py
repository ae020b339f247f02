"""The meaning of a program's exit codes, for every code.

Codes 64 to 78 are those of BSD's sysexits.h (EX__BASE 64 … EX_CONFIG 78), as the container contract uses them.
"""

from dataclasses import dataclass
from enum import Enum

EX_OK = 0
EX_BASE = 64  # EX__BASE, EX_USAGE
EX_DATAERR = 65
EX_TEMPFAIL = 75
EX_CONFIG = 78
EX_MAX = 78  # EX__MAX


class ExitMeaning(Enum):
    """What a program reports by its exit code."""

    SUCCESS = "success"
    BAD_DATA = "bad_data"
    BAD_CONFIGURATION = "bad_configuration"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    SCIENCE = "science"


@dataclass(frozen=True)
class ExitStatus:
    """The meaning of an exit code, and whether a retry may help (within the step's number of retries)."""

    meaning: ExitMeaning
    retryable: bool


_SYSEXITS = {code: ExitStatus(ExitMeaning.PERMANENT, retryable=False) for code in range(EX_BASE, EX_MAX + 1)}

_KNOWN = _SYSEXITS | {
    EX_OK: ExitStatus(ExitMeaning.SUCCESS, retryable=False),
    EX_DATAERR: ExitStatus(ExitMeaning.BAD_DATA, retryable=False),
    EX_CONFIG: ExitStatus(ExitMeaning.BAD_CONFIGURATION, retryable=False),
    EX_TEMPFAIL: ExitStatus(ExitMeaning.TEMPORARY, retryable=True),
}

_ANYTHING_ELSE = ExitStatus(ExitMeaning.SCIENCE, retryable=True)


def exit_status(exit_code: int) -> ExitStatus:
    """Return the meaning of an exit code; every integer has one."""
    return _KNOWN.get(exit_code, _ANYTHING_ELSE)
