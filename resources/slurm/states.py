import logging
import re
from collections.abc import Mapping

from ccat_models.tables.execution import FailureClass
from resources.backend import Ending, JobState

_LOG = logging.getLogger(__name__)

_QUEUED = (JobState.QUEUED, None)
_RUNNING = (JobState.RUNNING, None)
_UNKNOWN = (JobState.UNKNOWN, None)
_INFRASTRUCTURE = (JobState.ENDED, FailureClass.INFRASTRUCTURE)
_TIMEOUT = (JobState.ENDED, FailureClass.TIMEOUT)
_LOST = (JobState.ENDED, FailureClass.LOST)  # all that is known is that there is no result

# Every base state and flag of https://slurm.schedmd.com/job_state_codes.html (24.11), with the short codes of
# squeue(1) 22.05, "JOB STATE CODES"; EXPEDITING came with 25.11 (slurm.h, JOB_EXPEDITING).
STATES: Mapping[str, tuple[JobState, FailureClass | None]] = {
    "BOOT_FAIL": _INFRASTRUCTURE,
    "CANCELLED": _INFRASTRUCTURE,  # not by us: our own requests to cancel are in ops-db
    "COMPLETED": _LOST,
    "DEADLINE": _TIMEOUT,
    "FAILED": _LOST,
    "NODE_FAIL": _INFRASTRUCTURE,
    "OUT_OF_MEMORY": (JobState.ENDED, FailureClass.OUT_OF_MEMORY),
    "PENDING": _QUEUED,
    "PREEMPTED": _INFRASTRUCTURE,
    "RUNNING": _RUNNING,
    "SUSPENDED": _RUNNING,
    "TIMEOUT": _TIMEOUT,
    "COMPLETING": _RUNNING,  # its processes may still write
    "CONFIGURING": _QUEUED,
    "EXPEDITING": _RUNNING,  # the controller still decides whether it ends
    "LAUNCH_FAILED": _INFRASTRUCTURE,
    "POWER_UP_NODE": _QUEUED,
    "RECONFIG_FAIL": _INFRASTRUCTURE,
    "REQUEUED": _QUEUED,
    "REQUEUE_FED": _QUEUED,
    "REQUEUE_HOLD": _QUEUED,
    "RESIZING": _RUNNING,
    "RESV_DEL_HOLD": _QUEUED,
    "REVOKED": _UNKNOWN,  # the job moved to another cluster of a federation
    "SIGNALING": _RUNNING,
    "SPECIAL_EXIT": _QUEUED,
    "STAGE_OUT": _RUNNING,
    "STOPPED": _RUNNING,
    "UPDATE_DB": _UNKNOWN,  # says nothing of the job
}

SHORT_CODES: Mapping[str, str] = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "CF": "CONFIGURING",
    "CG": "COMPLETING",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RD": "RESV_DEL_HOLD",
    "RF": "REQUEUE_FED",
    "RH": "REQUEUE_HOLD",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
    "S": "SUSPENDED",
    "SE": "SPECIAL_EXIT",
    "SI": "SIGNALING",
    "SO": "STAGE_OUT",
    "ST": "STOPPED",
    "TO": "TIMEOUT",
}

# Limits that a waiting job exceeds by itself, whatever else runs: those per job and per node, and minima
# (https://slurm.schedmd.com/job_reason_codes.html).
NEVER_ALLOWED = r"(?:Assoc|QOS)Max\w*Per(?:Job|Node)(?:Limit)?|QOSMin\w+|MaxMemPerLimit"

# Reasons (same page, and squeue(1) 22.05 "JOB REASON CODES") with which a job waits for ever. PartitionNodeLimit,
# PartitionConfig and ReqNodeNotAvail are not among them: nodes that are down and may come back cause them too.
_NEVER_RUNS = (
    (re.compile(rf"(?:{NEVER_ALLOWED})"), FailureClass.PERMANENT),
    (
        re.compile(
            r"BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed"
            r"|PartitionTimeLimit|ReservationDeleted|DeadLine"
        ),
        FailureClass.PERMANENT,
    ),
    (
        re.compile(
            r"launch failed requeued held|[Jj]ob requeued in held state|JobLaunchFailure|JobHoldMaxRequeue"
            r"|BurstBufferOperation.*"
        ),
        FailureClass.INFRASTRUCTURE,
    ),
)


def full_state(text: str) -> str:
    """Return the full name of a state: for "CANCELLED by 1000", "CANCELLED+" and "CA" it is "CANCELLED"."""
    word = (text.split() or [""])[0]
    if word.endswith("+"):  # sacct has cut the word
        candidates = [state for state in STATES if state.startswith(word[:-1])]
        return candidates[0] if len(candidates) == 1 else word
    return SHORT_CODES.get(word, word)


def job_state(text: str) -> tuple[JobState, FailureClass | None]:
    """Return the meaning of a Slurm state, and the failure if it is one; an undocumented state is UNKNOWN."""
    state = full_state(text)
    if state not in STATES:
        _LOG.warning("Slurm reports an unknown job state: %r", text)
    return STATES.get(state, _UNKNOWN)


def never_runs(reason: str) -> FailureClass | None:
    """Return the failure of a job that waits for this reason and can never start, None if it may still start."""
    words = reason.strip().strip("()")
    return next((failure for pattern, failure in _NEVER_RUNS if pattern.fullmatch(words)), None)


def ending(text: str, evidence: Mapping[str, str]) -> Ending | None:
    """Return how a job in this state has ended, None if it has not."""
    state, failure = job_state(text)
    if state is not JobState.ENDED or failure is None:
        return None
    details = ", ".join(f"{name} {value}" for name, value in evidence.items() if value and name != "state")
    return Ending(failure, f"Slurm: {text}" + (f" ({details})" if details else ""), evidence)
