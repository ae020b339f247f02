import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from resources.backend import Batch, Ending, Job, JobRequest, JobState, Node, Sent, Timing
from resources.errors import BackEndUnavailable, SubmissionDoubtful, SubmissionPostponed, SubmissionRefused
from resources.shell.remote_program import program_command, program_path
from resources.workspace.store import AttemptStore

_CANCEL_ASKED = "cancel-asked"
_READ_WRITE_OWN = 0o644


@dataclass(frozen=True)
class _Wrapper:
    submission_key: str
    attempt_directory: Path
    process: psutil.Process
    parent: int


class LocalBackEnd:
    """Runs attempts as detached processes of this machine.

    It keeps no state: any process, also after a crash, finds the jobs in the process table by their command line
    `PYTHON -I -S <base>/.program/node-….pyz wrapper ATTEMPT_DIRECTORY SUBMISSION_KEY`.
    """

    timing = Timing()

    def __init__(
        self, base: Path, slots: int, python: str, kill_after_seconds: float = 30.0, apptainer: str | None = None
    ) -> None:
        self._base = base.absolute()
        self._slots = slots
        self.node = Node(python, apptainer)
        self._kill_after_seconds = kill_after_seconds
        self._children: set[int] = set()

    @property
    def name(self) -> str:
        """Return "local"."""
        return "local"

    def capacity(self) -> int:
        """Return the number of free slots."""
        return max(0, self._slots - len(self._wrappers()))

    @property
    def largest_batch(self) -> int:
        """Return the number of slots."""
        return self._slots

    def submit(self, batch: Batch) -> None:
        """Start a wrapper for every request, detached, so that it outlives this process.

        Raises SubmissionPostponed or SubmissionRefused where none was started, SubmissionDoubtful where some were.
        """
        free, requests = self.capacity(), batch.requests
        if len(requests) > free:  # another process may have taken the slots; they become free again
            error = SubmissionRefused if len(requests) > self._slots else SubmissionPostponed
            raise error(f"{len(requests)} jobs for {free} free slots of {self._slots}")
        try:
            program = AttemptStore.here(self._base).install_program()
        except OSError as error:
            raise SubmissionRefused(f"program below {self._base}: {error}") from error
        for number, request in enumerate(requests):
            try:
                self._children.add(self._start(program, request))
            except OSError as error:
                refusal = SubmissionDoubtful if number else SubmissionRefused
                raise refusal(f"{request.submission_key}: {self.node.python}: {error}") from error

    def find(self, sent: Collection[Sent]) -> Mapping[str, Job]:
        """Return, by submission key, the jobs whose wrappers are in the process table."""
        keys = {job.submission_key for job in sent}
        return {
            wrapper.submission_key: Job(wrapper.submission_key, str(wrapper.process.pid), JobState.RUNNING)
            for wrapper in self._wrappers()
            if wrapper.submission_key in keys
        }

    def endings(self, gone: Collection[Sent]) -> Mapping[str, Ending]:
        """Return nothing: the process table keeps no record of ended processes."""
        del gone
        return {}

    def cancel(self, jobs: Collection[Job]) -> None:
        """Send SIGTERM to the wrapper; after the grace period a later call sends SIGKILL."""
        keys = {job.submission_key for job in jobs}
        for wrapper in self._wrappers():
            if wrapper.submission_key in keys:
                number = self._cancel_signal(wrapper.attempt_directory)
                with contextlib.suppress(psutil.NoSuchProcess):
                    wrapper.process.send_signal(number)

    def _cancel_signal(self, attempt_directory: Path) -> signal.Signals:
        """Return the signal to send: SIGTERM at first, SIGKILL once the mark file of the first call is old enough."""
        mark = attempt_directory / _CANCEL_ASKED
        if not mark.exists():
            mark.touch()
        waited_seconds = time.time() - mark.stat().st_mtime
        return signal.SIGKILL if waited_seconds >= self._kill_after_seconds else signal.SIGTERM

    def _start(self, program: Path, request: JobRequest) -> int:
        """Start one wrapper and return its process id; the wrapper's own output goes to logs/wrapper.log."""
        log = request.attempt_directory / "logs" / "wrapper.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        directory = str(request.attempt_directory)
        arguments = program_command(self.node.python, program, "wrapper", directory, request.submission_key)
        return os.posix_spawn(
            self.node.python,
            arguments,
            {"PATH": os.environ.get("PATH", os.defpath)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, _READ_WRITE_OWN),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )

    def _wrappers(self) -> list[_Wrapper]:
        """Return the wrappers of all jobs below this base."""
        self._reap()
        try:
            processes = list(psutil.process_iter(["cmdline"]))
        except psutil.Error as error:
            raise BackEndUnavailable(f"process table: {error}") from error
        prefixes = (str(program_path(self._base).parent / "node-"), str(self._base / ".wrapper/attempt_wrapper-"))
        found = [wrapper for process in processes if (wrapper := _wrapper(process, *prefixes)) is not None]
        pids = {wrapper.process.pid for wrapper in found}
        # The forks of a wrapper (its guard, its program before exec) have the same command line.
        return [wrapper for wrapper in found if wrapper.parent not in pids]

    def _reap(self) -> None:
        """Wait for children that have ended, so that they do not stay in the process table as zombies."""
        for pid in tuple(self._children):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                ended = True
            if ended:
                self._children.discard(pid)


def _wrapper(process: psutil.Process, program: str, former: str) -> _Wrapper | None:
    """Return a process as a wrapper if it is one, alive and of this user; None for any other process.

    Only for processes with the command line of a wrapper is more read than that: a machine has many processes.
    """
    command = process.info["cmdline"]
    if not command or not _runs_wrapper(command[:-2], program, former):
        return None
    try:
        with process.oneshot():
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return _Wrapper(command[-1], Path(command[-2]), process, process.ppid())
    except psutil.Error:  # it has ended meanwhile, or belongs to another user
        return None


def _runs_wrapper(words: Sequence[str], program: str, former: str) -> bool:
    """Say whether these words start a wrapper; in older installations it was a file of its own (`former`)."""
    if words[-1:] == ["wrapper"]:
        return len(words) > 1 and words[-2].startswith(program)
    return len(words) > 0 and words[-1].startswith(former)
