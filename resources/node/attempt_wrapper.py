"""Run one attempt on a compute node: python3 attempt_wrapper.py ATTEMPT_DIRECTORY SUBMISSION_KEY.

Stands alone: Python >= 3.6 on Linux, standard library only. Reads job.json, claims the attempt, starts the program,
waits, and writes result.json last. No result.json after the wrapper is gone means the attempt is lost, never done.
Exit status: the program's own; 128 + signal if a signal ended it; 69 if it could not be started or collected; 0 if
another wrapper holds the claim; 78 if job.json is not for this key. The truth is in result.json alone.
"""
# Paths are bytes: a node's locale may be unable to decode them.
# ruff: noqa: PTH100, PTH102, PTH103, PTH104, PTH112, PTH118, PTH120, PTH123, PTH208

import contextlib
import ctypes
import datetime as dt
import hashlib
import json
import os
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

DIRECTORY_TYPES = {
    "science": "science",
    "qa": "qa_metric",
    "plots": "plot",
    "statistics": "statistics",
    "logs": "log",
    "intermediate": "intermediate",
}
EX_UNAVAILABLE, EX_IOERR, EX_CONFIG = 69, 74, 78  # sysexits.h
APPTAINER_FAILED = 255  # apptainer's own exit code for a missing image, bind source or command
APPTAINER_WORDS = (  # what apptainer 1.4 calls a thing that is missing or broken
    ("image", "could not open image|while mounting image"),
    ("bind source", "mount source .* doesn't exist"),
    ("command", "executable file not found|^(stat|exec) .*: no such file|^permission denied$|^is a directory$"),
)
MEMORY_FILES = {1: ("memory.oom_control", "memory.limit_in_bytes"), 2: ("memory.events", "memory.max")}
NO_MEMORY_LIMIT = 1 << 62  # version 1 writes "none" as the largest number of whole pages
READ_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
SIGNALLED_TOGETHER_SECONDS = 2.0
# Slurm wakes a job before it ends it, and apptainer 1.4 may tell the first of these signals as its program's end.
SIGNALLED = (-signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGCONT)
NOT_VISIBLE_SECONDS = 20.0  # a network file system may show a node late what was written elsewhere
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Refused(Exception):
    """Raised when there is nothing to run under this key; the attempt's directory is left untouched."""


class LaunchFailed(Exception):
    """Raised when the program could not be started."""


class MemoryCgroup:
    """What the kernel says of the memory cgroup that this process is in; nothing where it is not to be seen."""

    def __init__(self) -> None:
        self.place = memory_cgroup(read_text("/proc/self/cgroup"), read_text("/proc/self/mountinfo"))
        self._killed_before = self._killed()

    def shortage(self) -> Optional[str]:
        """Return what to say if the kernel has killed for want of memory since this object was made."""
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


class Signals:
    """SIGTERM, SIGINT and SIGCHLD as bytes in a pipe: none is lost between a look and a wait."""

    def __init__(self) -> None:
        self.asked_to_stop = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)

    def wait(self, seconds: Optional[float]) -> None:
        """Return at the next signal, or after this many seconds."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return
        if {int(signal.SIGTERM), int(signal.SIGINT)} & set(os.read(self._reader, 4096)):
            self.asked_to_stop = True


def wait_for_job(directory: bytes, seconds: float) -> None:
    """Return once job.json is visible, or after this many seconds."""
    end = time.monotonic() + seconds
    while not os.path.lexists(os.path.join(directory, b"job.json")) and time.monotonic() < end:
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            os.listdir(directory)  # NFS asks the server anew about a directory that is opened


def read_job(directory: bytes, submission_key: str) -> Dict[str, Any]:
    """Return job.json if it was written for this key."""
    path = os.path.join(directory, b"job.json")
    try:
        with open(path, encoding="utf-8") as file:
            job = json.load(file)
        found = (job["schema_version"], job["submission_key"], int(job["run_id"]), int(job["attempt"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("%s: not a job: %r" % (os.fsdecode(path), error)) from error
    if found[:2] != (1, submission_key):
        raise Refused(
            "%s: is version %r for key %r, not for %r" % (os.fsdecode(path), found[0], found[1], submission_key)
        )
    return dict(job)


def write_last(directory: bytes, name: bytes, content: Dict[str, Any]) -> None:
    """Write a JSON file that is either whole or absent, whenever the machine stops."""
    path = os.path.join(directory, name)
    temporary = path + b".tmp-%d" % os.getpid()
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_text(path: str) -> str:
    """Return a small file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def memory_cgroup(cgroups: str, mounts: str) -> Optional[Tuple[str, str, int]]:
    """Return directory, root directory and version of the memory cgroup that two files of /proc/self tell of.

    `cgroups` is its cgroup (cgroups(7)), `mounts` its mountinfo (proc(5)); where both versions are mounted, 1 counts.
    """
    paths = {}  # type: Dict[int, str]
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


def claim(directory: bytes, job_id: Optional[str]) -> bool:
    """Return whether this process, and no other ever, may run the attempt.

    mkdir is atomic on NFS too; where a lost reply makes it look taken, the attempt runs nowhere, never twice.
    """
    path = os.path.join(directory, b"claim")
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    write_last(path, b"owner.json", {"host": socket.gethostname(), "pid": os.getpid(), "job_id": job_id})
    return True


@contextlib.contextmanager
def heartbeat(directory: bytes, job: Dict[str, Any]) -> Iterator[None]:
    """Touch claim/heartbeat now and again and again; its thread ends with it, so that the program is forked by one."""
    path, stop = os.path.join(directory, b"claim", b"heartbeat"), threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
                os.utime(path)
            if stop.wait(job.get("heartbeat_seconds", 10.0)):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def file_digest(path: bytes) -> Tuple[int, str]:
    """Return size and sha256 of a file that is not a link."""
    digest, size = hashlib.sha256(), 0
    with open(os.open(path, READ_NO_LINK), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def program_environment(directory: bytes, job: Dict[str, Any]) -> Dict[bytes, bytes]:
    """Return the program's whole environment: PATH, LANG, HOME, TMPDIR and what was given."""
    tmp = os.path.join(directory, b"tmp")
    path = os.fsencode(os.environ.get("PATH", os.defpath))
    environment = {b"PATH": path, b"LANG": b"C.UTF-8", b"HOME": tmp, b"TMPDIR": tmp}
    environment.update((name.encode("utf-8"), value.encode("utf-8")) for name, value in job["environment"].items())
    return environment


def die_with(parent: int) -> Callable[[], None]:
    """Return what the program's process does before exec so that it dies when the wrapper does."""
    prctl = ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


class Guard:
    """Kills the program's whole group when the wrapper dies; PR_SET_PDEATHSIG reaches its first process alone."""

    def __init__(self, group: int) -> None:
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(reader)
            return
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            os.close(self._writer)
            if os.read(reader, 1) == b"":
                kill_group(group, signal.SIGKILL)
        finally:
            os._exit(0)

    def dismiss(self) -> None:
        """Let the guard go."""
        os.write(self._writer, b"x")
        os.close(self._writer)
        os.waitpid(self._pid, 0)


def start(directory: bytes, job: Dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own."""
    for name in (b"tmp", b"logs"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    command = [item.encode("utf-8") for item in job["command"]]
    if not command:
        raise LaunchFailed("the command is empty")
    logs = os.path.join(directory, b"logs")
    with open(os.path.join(logs, b"stdout.log"), "ab") as out, open(os.path.join(logs, b"stderr.log"), "ab") as err:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=job["working_directory"].encode("utf-8"),
                env=program_environment(directory, job),
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - there is one thread
            )
        except OSError as error:
            missing = "no apptainer: " if job["runtime"] == "apptainer" and error.filename == command[0] else ""
            raise LaunchFailed("%scannot start %r: %s" % (missing, job["command"][0], error)) from error


def wait_for(program: "subprocess.Popen[bytes]", job: Dict[str, Any], signals: Signals) -> Optional[str]:
    """Wait for the program's end; return "timeout" or "cancelled" if it was stopped."""
    limit, stopped = job["time_limit_seconds"], None
    deadline = None if limit is None else time.monotonic() + limit
    while program.poll() is None:
        late = deadline is not None and time.monotonic() >= deadline
        if stopped is None and (late or signals.asked_to_stop):
            stopped = "cancelled" if signals.asked_to_stop else "timeout"
            kill_group(program.pid, signal.SIGTERM)
            deadline = time.monotonic() + job.get("grace_seconds", 10.0)
        elif late:
            kill_group(program.pid, signal.SIGKILL)
            deadline = None
        signals.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    if stopped is None and program.returncode in SIGNALLED:
        return stopped_together(signals)
    return stopped


def stopped_together(signals: Signals) -> Optional[str]:
    """Return "cancelled" if the SIGTERM that ended the program was for the whole job: ours may come a little later."""
    end = time.monotonic() + SIGNALLED_TOGETHER_SECONDS
    while not signals.asked_to_stop and time.monotonic() < end:
        signals.wait(max(0.0, end - time.monotonic()))
    return "cancelled" if signals.asked_to_stop else None


def verify_image(job: Dict[str, Any]) -> None:
    """Check that the image is the one that was asked for."""
    if job["image_sha256"] is None:
        return
    try:
        found = file_digest(os.path.realpath(job["image_path"].encode("utf-8")))[1]
    except OSError as error:
        raise LaunchFailed("image %s: %s" % (job["image_path"], error.strerror)) from error
    if found != job["image_sha256"]:
        raise LaunchFailed("image %s has sha256 %s, not %s" % (job["image_path"], found, job["image_sha256"]))


def last_words(directory: bytes) -> str:
    """Return the last line of standard error that is not empty, without what would steer a terminal."""
    try:
        with open(os.open(os.path.join(directory, b"logs", b"stderr.log"), READ_NO_LINK), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    plain = ("".join(filter(str.isprintable, re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", line))) for line in lines)
    return ([line.strip() for line in plain if line.strip()] or [""])[-1][:500]


def launch_failure(words: str) -> Optional[str]:
    """Return why apptainer could not start the program, None if these last words are not apptainer's."""
    if not words.startswith("FATAL:   "):
        return None
    fatal = words[len("FATAL:   ") :]
    missing = [name for name, pattern in APPTAINER_WORDS if re.search(pattern, fatal)]
    return "%s: %s" % (missing[0], fatal) if missing else words


def run_program(directory: bytes, job: Dict[str, Any], signals: Signals, report: Dict[str, Any]) -> None:
    """Run the program and note in the report how it ended."""
    with heartbeat(directory, job):
        verify_image(job)
    signals.wait(0)
    if signals.asked_to_stop:
        report.update(outcome="cancelled", message="cancelled before the program was started")
        return
    memory, program = MemoryCgroup(), start(directory, job)
    guard = Guard(program.pid)
    try:
        with heartbeat(directory, job):
            stopped = wait_for(program, job, signals)
    finally:
        kill_group(program.pid, signal.SIGKILL)  # what it left behind must not write while outputs are hashed
        guard.dismiss()
    code, contained = program.returncode, job["runtime"] == "apptainer"
    if contained and code == 128 + signal.SIGKILL:
        code = -signal.SIGKILL
    report["outcome"] = stopped or ("completed" if code == 0 else "failed")
    report.update({"exit_code": code} if code >= 0 else {"signal": -code})
    if stopped == "timeout":
        report["message"] = "stopped at its time limit of %g s" % job["time_limit_seconds"]
    elif stopped is None and code:
        explain_failure(report, memory.shortage(), last_words(directory), contained)


def explain_failure(report: Dict[str, Any], shortage: Optional[str], words: str, contained: bool) -> None:
    """Note why a program failed that nobody stopped."""
    code = report["exit_code"]
    fatal = launch_failure(words) if contained and code == APPTAINER_FAILED else None
    if fatal:
        report.update(outcome="launch_failed", message=fatal)
    elif shortage:
        report.update(outcome="out_of_memory", message=shortage)
    else:
        end = "killed by signal %d" % report["signal"] if code is None else "exit code %d" % code
        report["message"] = end + (": " + words if words else "")


def walk(directory: bytes, relative: bytes) -> Iterator[Tuple[bytes, int]]:
    """Yield path and mode of everything below that is not a directory, in order, following no link."""
    for name in sorted(os.listdir(os.path.join(directory, relative))):
        path = os.path.join(relative, name)
        mode = os.lstat(os.path.join(directory, path)).st_mode
        if stat.S_ISDIR(mode):
            yield from walk(directory, path)
        else:
            yield path, mode


def link_warning(directory: bytes, path: bytes, report: Dict[str, Any]) -> None:
    """Note a link; one that leads out of the attempt's directory makes the attempt fail."""
    shown, base = path.decode("utf-8", "replace"), os.path.realpath(directory)
    report["warnings"].append("symbolic link %s not followed" % shown)
    if not os.path.realpath(os.path.join(directory, path)).startswith(os.path.join(base, b"")):
        message = "symbolic link %s points outside of the attempt's directory" % shown
        report.update(outcome="failed", message=message)


def collect(directory: bytes, output: bytes, report: Dict[str, Any]) -> None:
    """Note every output file: path, type, size and sha256."""
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
    """Return the description of one output file."""
    first, slash, _ = path[len(output) + 1 :].decode("utf-8").partition("/")
    kind = DIRECTORY_TYPES.get(first) if slash else None
    if kind is None:
        warnings.append("%s is outside the known directories, taken as intermediate" % path.decode("utf-8"))
    size, digest = file_digest(os.path.join(directory, path))
    return {"path": path.decode("utf-8"), "type": kind or "intermediate", "size_bytes": size, "sha256": digest}


def new_report(job: Dict[str, Any], job_id: Optional[str]) -> Dict[str, Any]:
    """Return result.json as it stands before anything has happened."""
    report = {name: job[name] for name in ("schema_version", "submission_key", "run_id", "attempt")}  # type: Dict[str, Any]
    report.update(outcome="launch_failed", exit_code=None, signal=None, outputs=[], warnings=[], message="")
    report.update(host=socket.gethostname(), job_id=job_id, image_sha256=job.get("image_sha256"))
    report.update(runtime=job.get("runtime"), command=job.get("command"))
    return report


def measure(report: Dict[str, Any], started_at: dt.datetime, wall_seconds: float) -> None:
    """Note times and memory; the peak is that of the largest process, and at least this wrapper's own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished_at = started_at + dt.timedelta(seconds=wall_seconds)
    report.update(started_at=started_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    report.update(finished_at=finished_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    report.update(wall_seconds=wall_seconds, cpu_seconds=used.ru_utime + used.ru_stime)
    report.update(peak_memory_bytes=used.ru_maxrss * 1024)


def run_attempt(directory: bytes, job: Dict[str, Any], signals: Signals, job_id: Optional[str]) -> Dict[str, Any]:
    """Run the claimed attempt and return its result, whatever happens."""
    report = new_report(job, job_id)
    started_at, clock = dt.datetime.now(dt.timezone.utc), time.monotonic()
    try:
        run_program(directory, job, signals, report)
    except LaunchFailed as error:
        report["message"] = str(error)
    except Exception:  # noqa: BLE001 - whatever happens is told
        report["message"] = traceback.format_exc()
    measure(report, started_at, time.monotonic() - clock)
    if report["outcome"] in ("completed", "failed"):
        try:
            with heartbeat(directory, job):
                collect(directory, job["output_directory"].encode("utf-8"), report)
        except Exception:  # noqa: BLE001 - whatever happens is told
            report.update(outcome="failed", message="outputs not collected: " + traceback.format_exc())
    return report


def mark_ended(job: Dict[str, Any]) -> None:
    """Leave a hint that the result is there, where one look finds all that have ended; the result is the truth."""
    if job.get("ended_directory") is None:
        return
    with contextlib.suppress(OSError):
        os.makedirs(job["ended_directory"].encode("utf-8"), exist_ok=True)
        path = os.path.join(job["ended_directory"], job["submission_key"]).encode("utf-8")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644))


def exit_status(report: Dict[str, Any]) -> int:
    """Return the program's own exit status where there is one, and never 0 for what is not completed."""
    if report["signal"] is not None:
        return 128 + int(report["signal"])
    if report["outcome"] == "completed":
        return 0
    return int(report["exit_code"] or EX_UNAVAILABLE)


def main(arguments: List[str]) -> int:
    """Run the attempt in the directory, if it is this key's and nobody else has it."""
    if len(arguments) != 2:
        sys.stderr.write("usage: attempt_wrapper.py ATTEMPT_DIRECTORY SUBMISSION_KEY\n")
        return EX_CONFIG
    directory = os.path.abspath(os.fsencode(arguments[0]))
    os.umask(0o022)
    try:
        wait_for_job(directory, NOT_VISIBLE_SECONDS)
        job = read_job(directory, arguments[1])
        os.chdir(directory)
        signals = Signals()
        variable = job.get("job_id_variable")
        job_id = os.environ.get(variable) if variable else None
        if not claim(directory, job_id):
            return 0
        report = run_attempt(directory, job, signals, job_id)
        write_last(directory, b"result.json", report)
        mark_ended(job)
    except Refused as error:
        sys.stderr.write("%s\n" % error)
        return EX_CONFIG
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (os.fsdecode(directory), error))
        return EX_IOERR
    return exit_status(report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
