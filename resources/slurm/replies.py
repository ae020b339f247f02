import re
import signal
from collections.abc import Mapping

from resources.errors import (
    ResourceError,
    SubmissionDoubtful,
    SubmissionPostponed,
    SubmissionRefused,
    SubmissionTooLarge,
)
from resources.shell.port import Completed
from resources.slurm.parse import Malformed, parse_submitted
from resources.slurm.states import NEVER_ALLOWED

_REFUSED = (
    # the controller's answers: slurm_errno.c, 22.05 to 25.11
    r"Access/permission denied",
    r"Access denied to requested reservation",
    r"Cannot request more threads per core than",
    r"CPU count specification invalid",
    r"Duplicate generic resource",
    r"Insufficient GRES available",
    r"Invalid \S+(?: \S+){0,4} spec",  # feature, license, qos, wckey, job array, (gres), time-min, etc.
    r"Invalid account or account/partition",
    r"Invalid group id",
    r"Invalid --nice value",
    r"Invalid node name specified",
    r"Invalid or unknown association",
    r"Invalid partition name specified",
    r"Invalid time specified",
    r"Invalid user id",
    r"Job cannot be submitted without the current working directory",
    r"Job dependency problem",
    r"Job script not specified",
    r"Job size specification needs to be provided",
    r"Memory required by task is not available",
    r"More processors requested than permitted",
    r"Multiple partition job request not supported",
    r"No partition specified or system default partition",
    r"Node count specification invalid",
    r"Pathname of a file, directory or other parameter too long",
    r"Requested GRES option unsupported",
    r"Requested node configuration is not available",
    r"Requested nodes not in this partition",
    r"Requested partition configuration not available now",
    r"Requested reservation is invalid",
    r"Requested time limit is invalid",
    r"Requested topology configuration is not available",
    r"RestrictedCoresPerGPU",
    r"Task (?:count|distribution) specification invalid",
    r"User's group not permitted to use this partition",
    # what sbatch itself refuses, before it asks the controller
    r"This does not look like a batch script",
    r"Script (?:is|file) .*too (?:big|large|long)",
    r"sbatch: (?:unrecognized|invalid) option",
)

_TOO_LARGE = (
    r"Job violates accounting/QOS policy",
    r"(?:Assoc|QOS)(?:Max|Grp)Submit\w+|MaxSubmitJobsPerAccount",
    r"MaxJobCount limit reached",
    r"Slurm job queue full",
)

_POSTPONED = (
    r"Slurm temporarily unable to accept job",  # then "Resource temporarily unavailable"
    r"Job creation temporarily disabled",
    r"System submissions disabled",
    r"Rate limit exceeded",
    r"Required partition not available \(inactive or drain\)",
    r"Partition in DOWN state",
    r"Required node not available",
    r"Requested reservation (?:is in use|not usable now)",
    r"Requested account has breached requested QOS usage threshold",
    r"Licenses currently unavailable",
    r"standby mode",
    r"(?m)^(?:sh|env|timeout): .*(?:No such file or directory|not found|Permission denied)",  # sbatch is missing
)

_BROKEN_OFF = (124, 128 + signal.SIGKILL, 128 + signal.SIGTERM)  # by timeout(1) or a signal: the command had begun

# The first pattern that matches decides. After an unknown failure the batch may have been accepted.
_TABLE: tuple[tuple[tuple[str, ...], type[ResourceError]], ...] = (
    ((r"Socket timed out", r"Unable to contact slurm controller", r"Zero Bytes were transmitted"), SubmissionDoubtful),
    ((rf"\b(?:{NEVER_ALLOWED})\b",), SubmissionRefused),
    (_REFUSED, SubmissionRefused),
    (_TOO_LARGE, SubmissionTooLarge),
    (_POSTPONED, SubmissionPostponed),
)


def submitted_id(batch_key: str, reply: Completed) -> str:
    """Return the job id in sbatch's reply; raise the error that another reply means, see `BackEnd.submit`."""
    if reply.exit_code == 0:
        try:
            return parse_submitted(reply.stdout)
        except Malformed as error:
            raise SubmissionDoubtful(f"batch {batch_key}: {error}") from error
    text = reply.stderr.strip() or reply.stdout.strip()
    raise (SubmissionDoubtful if reply.exit_code in _BROKEN_OFF else _meaning(text))(
        f"batch {batch_key}: sbatch, exit code {reply.exit_code}: {text[-1000:]}"
    )


def accounting_is_off(reply: Completed) -> bool:
    """Say whether sacct failed because this cluster keeps no accounts."""
    return "accounting storage is disabled" in reply.stderr


def evidence(state: str, exit_code: str, reason: str, node: str) -> Mapping[str, str]:
    """Return what Slurm reports of a job's end, in Slurm's words, without empty values."""
    values = {"state": state, "exit_code": exit_code, "reason": "" if reason == "None" else reason, "node": node}
    return {name: value for name, value in values.items() if value}


def _meaning(text: str) -> type[ResourceError]:
    fitting = (meaning for patterns, meaning in _TABLE if any(re.search(pattern, text) for pattern in patterns))
    return next(fitting, SubmissionDoubtful)
