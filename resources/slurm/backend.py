import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ccat_models.tables.execution import FailureClass
from resources.backend import Batch, Ending, Job, JobState, Node, Sent, Timing
from resources.errors import BackEndUnavailable, ShellDoubtful, SubmissionDoubtful, SubmissionPostponed
from resources.shell.port import Completed, Shell
from resources.slurm.commands import Commands
from resources.slurm.parse import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    ClusterConfig,
    Malformed,
    QueueRow,
    compress,
    parse_config,
    parse_sacct,
    parse_squeue,
)
from resources.slurm.render import JOB_ID_VARIABLE, Site, job_name, render
from resources.slurm.replies import accounting_is_off, evidence, submitted_id
from resources.slurm.states import ending, job_state, never_runs

_LOG = logging.getLogger(__name__)

_IDS_A_CALL = 100  # sacct takes 0.1 s for 200 tasks, and several seconds where a database is large
_ARGUMENT_BYTES = 60_000
_FRESH_SECONDS = 30.0
_VERIFIED_SECONDS = 60.0  # before a submission a check may be so old; if jobs are missing, it is made each time
_BEST = (JobState.RUNNING, JobState.QUEUED, JobState.UNKNOWN, JobState.ENDED)


@dataclass(frozen=True)
class Limits:
    """Limits that the operator configures for the use of a cluster."""

    largest_batch: int = 1000
    jobs_in_queue: int | None = None
    timeout_seconds: int = 60  # of one command
    cluster: str | None = None  # the ClusterName that must answer; None accepts the first one seen


class SlurmBackEnd:
    """Runs attempts as tasks of Slurm job arrays.

    No state is needed to find jobs after a restart: a batch is found by its job's name, `ccat-<batch key>`, and an
    attempt by its array task.
    """

    timing = Timing(
        lease=timedelta(seconds=300),  # longer than any call of this back end
        resend_after=timedelta(seconds=30),
        lost_after=timedelta(seconds=60),
        stuck_after=timedelta(seconds=300),
    )

    def __init__(
        self, shell: Shell, site: Site, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.node = Node(site.python, site.apptainer, JOB_ID_VARIABLE, leaves_marks=True)
        self._site = site
        self._limits = limits or Limits()
        self._commands = Commands(shell, self._limits.timeout_seconds)
        self._clock = clock
        self._config: ClusterConfig | None = None
        self._verified_at = float("-inf")
        self._counted_at = float("-inf")
        self._in_queue = 0
        self._asked_at: dict[str, float] = {}

    @property
    def name(self) -> str:
        """Return "slurm"."""
        return "slurm"

    @property
    def calls(self) -> Counter[str]:
        """Return how often each of Slurm's programs was called."""
        return self._commands.calls

    @property
    def largest_batch(self) -> int:
        """Return the smaller one of the cluster's limit and the configured one."""
        config = self._config or self._verify()
        return max(1, min(config.largest_array, self._limits.largest_batch))

    def capacity(self) -> int | None:
        """Return how many more jobs may be in the queue, by its last list if that is recent; None for no limit."""
        if self._limits.jobs_in_queue is None:
            return None
        if self._clock() - self._counted_at > _FRESH_SECONDS:
            self._queue()
        return max(0, self._limits.jobs_in_queue - self._in_queue)

    def submit(self, batch: Batch) -> str:
        """Send a batch as one job array and return its job id; for what is raised see `BackEnd.submit`."""
        script = render(batch, self._site).encode()
        self._verify_before_sending(batch)
        try:
            reply = self._commands.run("sbatch", "--parsable", stdin=script)
        except ShellDoubtful as error:
            raise SubmissionDoubtful(f"batch {batch.key}: {error}") from error
        job_id = submitted_id(batch.key, reply)
        self._in_queue += len(batch.requests)
        return job_id

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return the jobs in the queue, by submission key; jobs that ended less than MinJobAge ago are included."""
        rows: dict[tuple[str, int | None], list[QueueRow]] = defaultdict(list)
        for row in self._queue():
            rows[row.name, row.task].append(row)
        jobs = {}
        for one in sent:
            name = job_name(one.batch_key) if one.batch_key else ""
            # Slurm 22.05 forgets the numbers of tasks that were cancelled before they started: one row is for all.
            found = rows.get((name, one.index)) or _ended(rows.get((name, None), []))
            if name and found:
                jobs[one.submission_key] = min((_job(one, row) for row in found), key=_preference)
        if len(jobs) < len(sent):
            self._verify()  # after the list: a check before it would not prove which cluster answered
        return jobs

    def endings(self, gone: Collection[Sent]) -> Mapping[str, Ending]:
        """Return what the accounting says of jobs; those not asked for recently come first; {} without accounting."""
        known = {task: one for one in gone if one.batch_key and (task := _task_id(one))}
        chosen = sorted(known, key=lambda task: self._asked_at.get(task, float("-inf")))[:_IDS_A_CALL]
        self._asked_at = {task: at for task, at in self._asked_at.items() if task in known}
        if not chosen:
            return {}
        self._asked_at.update(dict.fromkeys(chosen, self._clock()))
        rows = self._accounts(chosen)
        by_key = {
            one.submission_key: rows[task]
            for task, one in known.items()
            if task in rows and rows[task][0] == job_name(one.batch_key)
        }
        return {key: end for key, (_, end) in by_key.items() if end is not None}

    def cancel(self, jobs: Collection[Job]) -> None:
        """Ask Slurm to end tasks; it sends SIGKILL by itself after KillWait seconds."""
        for words in _chunks(_ranges(job.job_id for job in jobs)):
            reply = self._ask("scancel", *words)
            if reply.exit_code and "already completing" not in reply.stderr and "Invalid job id" not in reply.stderr:
                raise BackEndUnavailable(f"scancel, exit code {reply.exit_code}: {reply.stderr.strip()[-500:]}")

    def _queue(self) -> list[QueueRow]:
        """Return all of this user's jobs; raise BackEndUnavailable if the list may be incomplete."""
        reply = self._ask("squeue", "-h", "-r", "--me", "-t", "all", "-o", SQUEUE_FORMAT)
        if reply.exit_code:
            raise BackEndUnavailable(f"squeue, exit code {reply.exit_code}: {reply.stderr.strip()[-500:]}")
        try:
            rows = parse_squeue(reply.stdout)
        except Malformed as error:
            raise BackEndUnavailable(str(error)) from error
        self._counted_at = self._clock()
        self._in_queue = sum(job_state(row.state)[0] is not JobState.ENDED for row in rows)
        return rows

    def _accounts(self, tasks: Collection[str]) -> dict[str, tuple[str, Ending | None]]:
        """Return, by task, its job's name and how it ended (after the last requeue, if it was queued again)."""
        cluster = (self._config or self._verify()).name
        reply = self._ask("sacct", "-nPXD", "-j", ",".join(sorted(tasks)), "-o", SACCT_FORMAT)
        if reply.exit_code:
            level = logging.DEBUG if accounting_is_off(reply) else logging.INFO
            _LOG.log(level, "sacct tells nothing, exit code %d: %s", reply.exit_code, reply.stderr.strip()[-500:])
            return {}
        try:
            rows = parse_sacct(reply.stdout)
        except Malformed as error:
            raise BackEndUnavailable(str(error)) from error
        return {
            row.job_id: (row.name, ending(row.state, evidence(row.state, row.exit_code, row.reason, row.nodes)))
            for row in rows
            if row.cluster == cluster
        }

    def _verify_before_sending(self, batch: Batch) -> None:
        """Check, if the last check is too old, that the known cluster still answers; send nothing to another one."""
        if self._config is None or self._clock() - self._verified_at <= _VERIFIED_SECONDS:
            return
        try:
            self._verify()
        except BackEndUnavailable as error:
            raise SubmissionPostponed(f"batch {batch.key}: {error}") from error

    def _verify(self) -> ClusterConfig:
        """Check which cluster answers, and return its configuration: another one's empty queue says nothing."""
        reply = self._ask("scontrol", "show", "config")
        if reply.exit_code:
            raise BackEndUnavailable(f"scontrol, exit code {reply.exit_code}: {reply.stderr.strip()[-500:]}")
        try:
            config = parse_config(reply.stdout)
        except Malformed as error:
            raise BackEndUnavailable(str(error)) from error
        expected = self._limits.cluster or (self._config and self._config.name) or config.name
        if config.name != expected:
            raise BackEndUnavailable(f"{config.name!r} answers for another cluster, {expected!r}")
        self._config, self._verified_at = config, self._clock()
        return config

    def _ask(self, program: str, *arguments: str) -> Completed:
        try:
            return self._commands.run(program, *arguments)
        except ShellDoubtful as error:
            raise BackEndUnavailable(f"{program}: {error}") from error


def _ended(rows: Iterable[QueueRow]) -> list[QueueRow]:
    return [row for row in rows if job_state(row.state)[0] is JobState.ENDED]


def _job(sent: Sent, row: QueueRow) -> Job:
    job_id = f"{row.array_id}_{sent.index}"
    state, _ = job_state(row.state)
    reason = "" if row.reason == "None" else row.reason
    never = never_runs(reason) if state is JobState.QUEUED else None
    if never is not None:
        end = Ending(never, f"Slurm will never run it: {reason}", evidence(row.state, "", reason, ""), lingers=True)
        return Job(sent.submission_key, job_id, JobState.ENDED, reason, end)
    end_of = ending(row.state, evidence(row.state, "", reason, row.nodes))
    return Job(sent.submission_key, job_id, state, reason, end_of)


def _preference(job: Job) -> tuple[int, bool]:
    """Order the jobs of one attempt: a job that may still run first; of ended ones, one with an explanation."""
    return _BEST.index(job.state), job.ending is not None and job.ending.failure is FailureClass.LOST


def _task_id(sent: Sent) -> str | None:
    """Return the id of an attempt's array task, None where no id is known."""
    if sent.job_id is None or "_" in sent.job_id:
        return sent.job_id
    return f"{sent.job_id}_{sent.index}"


def _ranges(job_ids: Iterable[str]) -> list[str]:
    """Return ids in the form that scancel reads, the tasks of one array in one argument."""
    arrays: dict[str, list[int]] = defaultdict(list)
    single = []
    for job_id in job_ids:
        array, _, task = job_id.partition("_")
        if task.isdecimal():
            arrays[array].append(int(task))
        else:
            single.append(job_id)
    return single + [f"{array}_[{compress(tasks)}]" for array, tasks in arrays.items()]


def _chunks(words: Iterable[str]) -> list[list[str]]:
    """Return the arguments in lists, each short enough for one command line."""
    chunks: list[list[str]] = []
    room = 0
    for word in words:
        if len(word) > room:
            chunks.append([])
            room = _ARGUMENT_BYTES
        chunks[-1].append(word)
        room -= len(word) + 1
    return chunks
