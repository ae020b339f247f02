import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_RECORD = "job|"  # a job's name may contain newlines: a line that does not begin so continues the one before
SQUEUE_FORMAT = f"{_RECORD}%F|%K|%i|%T|%N|%j|%r"  # a "|" in a name shifts only fields after it; our names have none
SACCT_FORMAT = "JobID,Cluster,State,ExitCode,NodeList,Submit,JobName,Reason"

_TASKS = re.compile(r"(\d+)_\[([\d,\-:]*)(?:\.\.\.)?(?:%\d+)?\]")
_ID = re.compile(r"\d+(?:[_+]\d+)?(?:\.\w+)?|\d+_\[[\d,\-:]*(?:\.\.\.)?(?:%\d+)?\]")
_STATE = re.compile(r"[A-Z][A-Z_]*\+?(?: by \S+)?")
_SUBMITTED = re.compile(r"(?P<job_id>[1-9]\d*)(?:;[\w.\-]+)?\n")  # without the newline the id may be cut
_SETTING = re.compile(r"(?P<name>\w+)\s*=\s*(?P<value>.*?)\s*")


class Malformed(ValueError):
    """Raised for output that does not have the documented form; the message quotes the line."""


@dataclass(frozen=True)
class QueueRow:
    """One job, or one task of a job array, as squeue reports it."""

    array_id: str
    task: int | None
    job_id: str
    state: str
    nodes: str
    name: str
    reason: str


@dataclass(frozen=True)
class AccountRow:
    """One execution of a job or task, as sacct reports it; a job that was queued again has several rows."""

    job_id: str
    cluster: str
    state: str
    exit_code: str
    nodes: str
    submitted: str
    name: str
    reason: str
    of_a_set: bool = False  # the line was for all tasks of an array that have not started


@dataclass(frozen=True)
class ClusterConfig:
    """The part of a cluster's configuration that the back end needs."""

    name: str
    version: str
    largest_array: int


def parse_squeue(text: str) -> list[QueueRow]:
    """Return the rows of `squeue -h -r -o SQUEUE_FORMAT`; raise Malformed."""
    records: list[str] = []
    for line in _lines(text):
        if line.startswith(_RECORD):
            records.append(line.removeprefix(_RECORD))
        elif records:
            records[-1] += f"\n{line}"
        else:
            raise Malformed(f"squeue: {line[:200]!r}")
    return [_queue_row(record) for record in records]


def parse_sacct(text: str) -> list[AccountRow]:
    """Return the rows of `sacct -nPXD -o SACCT_FORMAT`, in the order of submission; raise Malformed.

    "123_[2-5]" becomes one row for each task. It precedes a task's own row, which is to be preferred: Slurm 22.05
    still names tasks in such a line after they have started.
    """
    rows = [row for line in _lines(text) for row in _account_rows(line)]
    return sorted(rows, key=lambda row: (row.submitted, not row.of_a_set))


def parse_submitted(text: str) -> str:
    """Return the job id from `sbatch --parsable`: "123" or "123;cluster"; raise Malformed for any other text."""
    match = _SUBMITTED.fullmatch(text)
    if match is None:
        raise Malformed(f"sbatch: not a job id: {text[:200]!r}")
    return match["job_id"]


def parse_config(text: str) -> ClusterConfig:
    """Return the part of `scontrol show config` that the back end needs; raise Malformed."""
    settings: Mapping[str, str] = {
        match["name"]: match["value"] for line in text.splitlines() if (match := _SETTING.fullmatch(line))
    }
    try:
        largest = int(settings["MaxArraySize"])
        name, version = settings["ClusterName"], settings["SLURM_VERSION"]
    except (KeyError, ValueError) as error:
        raise Malformed(f"scontrol show config: {error}: {text[:200]!r}") from error
    # slurm.conf(5): the largest index is one less than MaxArraySize, max_array_tasks counts tasks.
    tasks = re.search(r"\bmax_array_tasks=(\d+)", settings.get("SchedulerParameters", ""))
    return ClusterConfig(name, version, min(largest, int(tasks[1])) if tasks else largest)


def expand_tasks(job_id: str) -> list[str]:
    """Return the ids of the tasks in "123_[0,5-9%2]"; if Slurm cut the list with "...", the ids before the cut."""
    match = _TASKS.fullmatch(job_id)
    if match is None:
        return [job_id]
    ranges = match[2].split(",")
    if "..." in job_id:
        ranges = ranges[:-1]  # the number before the cut may lack digits
    return [f"{match[1]}_{task}" for part in ranges for task in _range(part)]


def compress(indices: list[int]) -> str:
    """Return sorted indices in Slurm's notation: 0-4,6-9."""
    parts: list[list[int]] = []
    for index in sorted(set(indices)):
        if parts and parts[-1][-1] == index - 1:
            parts[-1] = [parts[-1][0], index]
        else:
            parts.append([index])
    return ",".join("-".join(map(str, part)) for part in parts)


def _range(part: str) -> range:
    bounds, _, step = part.partition(":")
    first, _, last = bounds.partition("-")
    return range(int(first), int(last or first) + 1, int(step or 1))


def _lines(text: str) -> Iterator[str]:
    if text and not text.endswith("\n"):
        raise Malformed(f"cut off: {text.splitlines()[-1][:200]!r}")
    return (line for line in text.splitlines() if line)


def _queue_row(line: str) -> QueueRow:
    fields = line.split("|", 6)
    if len(fields) != 7:
        raise Malformed(f"squeue: {line[:200]!r}")
    array_id, task, job_id, state, nodes, name, reason = fields
    if not (array_id.isdecimal() and (task.isdecimal() or task == "N/A") and _ID.fullmatch(job_id)):
        raise Malformed(f"squeue: {line[:200]!r}")
    if not _STATE.fullmatch(state):
        raise Malformed(f"squeue: {line[:200]!r}")
    return QueueRow(array_id, int(task) if task.isdecimal() else None, job_id, state, nodes, name, reason)


def _account_rows(line: str) -> list[AccountRow]:
    fields = line.split("|", 7)
    if len(fields) != 8 or not _ID.fullmatch(fields[0]) or not _STATE.fullmatch(fields[2]):
        raise Malformed(f"sacct: {line[:200]!r}")
    tasks, cluster, state, exit_code, nodes, submitted, name, reason = fields
    try:
        ids = expand_tasks(tasks)
    except ValueError as error:
        raise Malformed(f"sacct: {line[:200]!r}") from error
    of_a_set = "[" in tasks
    return [AccountRow(one, cluster, state, exit_code, nodes, submitted, name, reason, of_a_set) for one in ids]
