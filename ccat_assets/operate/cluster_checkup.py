"""Checks a configured Slurm cluster, from the connection to what a node sees; leaves nothing behind."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ccat_assets.wiring.locations import shell_of, site_of
from ccat_assets.wiring.settings import Settings
from resources.errors import HostNotTrusted, ResourceError, TransientError
from resources.shell.port import Completed, Shell
from resources.slurm.commands import Commands
from resources.slurm.options import option_lines
from resources.slurm.parse import Malformed, parse_config

_TIMEOUT_SECONDS = 30
_NODE_WAIT_SECONDS = 20
_LARGEST_SKEW_SECONDS = 10.0
_OLDEST_PYTHON = (3, 6)
_FILE = ".doctor"
_OF_JOBS = "settings slurm_account, slurm_qos, slurm_constraint, slurm_options"
_OF_SSH = "settings ssh_host, ssh_port, ssh_user, ssh_key_file"
# Prints what a node sees: the shared directory, an interpreter for the wrapper, apptainer.
_PROBE = """
from __future__ import print_function
import subprocess, sys
token, probe, apptainer = sys.argv[1:]
print("python", "%d.%d" % sys.version_info[:2])
try:
    print("shared", open(probe).read() == token or "another file is there")
except EnvironmentError as error:
    print("shared", error.strerror)
try:
    print("apptainer", subprocess.check_output([apptainer, "--version"]).decode().strip())
except Exception as error:
    print("apptainer", "missing:", error)
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["ok", "note", "broken"]
    finding: str


@dataclass(frozen=True)
class _Cluster:
    settings: Settings
    shell: Shell
    commands: Commands

    def ask(self, program: str, *arguments: str) -> Completed:
        return self.commands.run(program, *arguments)


def cluster_findings(settings: Settings) -> Iterator[Finding]:
    """Check the cluster that the settings name; stop where later checks cannot work."""
    try:
        shell = shell_of(settings)
    except ResourceError as error:
        yield Finding("ssh", "broken", str(error))
        return
    with closing(shell):
        yield from _findings(_Cluster(settings, shell, Commands(shell, _TIMEOUT_SECONDS)))


def _findings(cluster: _Cluster) -> Iterator[Finding]:
    connection = _tried("connection", lambda: _connection(cluster))
    yield connection
    if connection.verdict == "broken":
        return
    controller = _tried("slurm", lambda: _controller(cluster))
    partition = None if controller.verdict == "broken" else _tried("partition", lambda: _partition(cluster))
    yield controller
    if partition is not None:
        yield partition
        options = _tried("job options", lambda: _options(cluster))
        takes_no_jobs = partition.verdict == "note" and options.verdict == "broken"
        yield replace(options, verdict="note") if takes_no_jobs else options
        yield _tried("accounting", lambda: _accounting(cluster))
    directories = (cluster.settings.workspace, cluster.settings.sif_cache)
    written = [_tried("directory", partial(_directory, cluster, path)) for path in directories]
    yield from written
    if partition is not None and partition.verdict == "note":
        yield Finding("node", "note", "not checked: no node takes jobs")
    elif partition is not None and written[0].verdict == "ok":
        yield from _node(cluster)
    yield from _cleared(cluster, directories)


def _cleared(cluster: _Cluster, directories: Iterable[Path]) -> Iterator[Finding]:
    """Remove the files that were written; yield a finding only if that fails."""
    try:
        cluster.shell.run(["rm", "-f", *(str(path / _FILE) for path in directories)], timeout_seconds=_TIMEOUT_SECONDS)
    except ResourceError as error:
        yield Finding("probe files", "note", f"{_FILE} stays in {', '.join(map(str, directories))}: {error}")


def _tried(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except HostNotTrusted as error:
        remedy = "compare its key with the site's, then keep it in ssh_known_hosts"
        return Finding(what, "broken", _advise(str(error), remedy if "host key" in str(error) else _OF_SSH))
    except TransientError as error:
        return Finding(what, "broken", _advise(str(error), _OF_SSH))
    except (ResourceError, Malformed) as error:
        return Finding(what, "broken", str(error))


def _advise(problem: str, remedy: str) -> str:
    return f"{problem}; remedy: {remedy}"


def _complaint(done: Completed) -> str:
    """Return the end of a command's standard error, or its exit code."""
    return done.stderr.strip()[-300:] or f"exit code {done.exit_code}"


def _connection(cluster: _Cluster) -> Finding:
    begun, here = time.monotonic(), time.time()
    there = cluster.shell.run(["date", "+%s"], timeout_seconds=_TIMEOUT_SECONDS)
    milliseconds = (time.monotonic() - begun) * 1000
    name = cluster.shell.host or "this machine"
    if there.exit_code or not there.stdout.strip().isdigit():
        return Finding("connection", "broken", f"{name}: date answers {there.stdout!r}{there.stderr!r}")
    skew_seconds = abs(int(there.stdout) - here)
    text = f"{name} answers in {milliseconds:.0f} ms"
    if skew_seconds > _LARGEST_SKEW_SECONDS:
        return Finding("connection", "note", f"{text}; its clock is {skew_seconds:.0f} s off: check its time service")
    return Finding("connection", "ok", text)


def _controller(cluster: _Cluster) -> Finding:
    done = cluster.ask("scontrol", "show", "config")
    if done.exit_code:
        where = cluster.shell.host or "this machine"
        return Finding("slurm", "broken", _advise(f"scontrol: {_complaint(done)}", f"is Slurm in the PATH of {where}?"))
    config = parse_config(done.stdout)
    wanted = cluster.settings.slurm_cluster
    if wanted and wanted != config.name:
        text = f"cluster {config.name!r} answers, not {wanted!r}"
        return Finding(
            "slurm",
            "broken",
            _advise(text, "setting slurm_cluster, or ssh_host if it names another cluster's login node"),
        )
    limits = f"arrays of at most {config.largest_array} jobs"
    return Finding("slurm", "ok", f"cluster {config.name}, Slurm {config.version}; {limits}")


def _partition(cluster: _Cluster) -> Finding:
    done = cluster.ask("sinfo", "-h", "-o", "%P|%a|%l|%F")
    if done.exit_code:
        return Finding("partition", "broken", f"sinfo: {_complaint(done)}")
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]
    wanted = [name for name in (cluster.settings.slurm_partition or "").split(",") if name]
    names = sorted({row[0].rstrip("*") for row in rows})
    unknown = [name for name in wanted if name not in names]
    chosen = [row for row in rows if row[0].rstrip("*") in wanted or (not wanted and row[0].endswith("*"))]
    if unknown or not chosen:
        shown = f"no partition {unknown[0]!r}" if unknown else "no partition is the cluster's default"
        return Finding("partition", "broken", _advise(shown, f"setting slurm_partition: one of {', '.join(names)}"))
    return _state_of(chosen)


def _state_of(rows: Sequence[Sequence[str]]) -> Finding:
    """Describe partitions: jobs run in any of those that are named, as long as one of them is up."""
    descriptions, up, taking = [], False, 0
    for name, state, limit, nodes in rows:
        allocated, idle, _, total = nodes.split("/")  # and those that take no jobs
        taken = int(allocated) + int(idle)
        descriptions.append(f"{name.rstrip('*')} is {state}, {taken} of {total} nodes take jobs, time limit {limit}")
        up, taking = up or state == "up", taking + (taken if state == "up" else 0)
    text = "; ".join(descriptions)
    if not up:
        return Finding("partition", "broken", _advise(text, "setting slurm_partition, or ask the cluster's operators"))
    return Finding("partition", "ok" if taking else "note", text if taking else _advise(text, "`sinfo -R` says why"))


def _options_of_every_job(settings: Settings) -> list[str]:
    site = site_of(settings)
    named = {"partition": site.partition, "account": site.account, "qos": site.qos, "constraint": site.constraint}
    return option_lines({name: text for name, text in named.items() if text} | dict(site.options), "slurm_options")


def _options(cluster: _Cluster) -> Finding:
    """Let Slurm check the options that every job has, without submitting one."""
    lines = _options_of_every_job(cluster.settings)
    done = cluster.ask("sbatch", "--test-only", "--time=1", *lines, "--wrap=true")
    if done.exit_code:
        text = f"sbatch --test-only {' '.join(lines)}: {_complaint(done)}"
        return Finding("job options", "broken", _advise(text, _OF_JOBS))
    return Finding("job options", "ok", " ".join(lines) or "none")


def _accounting(cluster: _Cluster) -> Finding:
    done = cluster.ask("sacct", "-nPX", "-S", "now-1minute", "-o", "JobID")
    if done.exit_code == 0:
        return Finding("accounting", "ok", "sacct answers")
    without = "not needed; without it, jobs that vanish after MinJobAge are lost, whatever ended them"
    return Finding("accounting", "note", f"sacct: {_complaint(done)}: {without}")


def _directory(cluster: _Cluster, path: Path) -> Finding:
    """Write a file and read it back; it stays, for a node to read."""
    what = "workspace" if path == cluster.settings.workspace else "sif cache"
    name = "pipeline_base_dir" if what == "workspace" else "sif_cache_dir"
    remedy = f"setting {name}: a directory that {cluster.shell.host or 'this machine'} can write and all nodes see"
    token = secrets.token_hex(8).encode()
    try:
        cluster.shell.write(path / _FILE, token)
        found = cluster.shell.read(path / _FILE, 100)
    except (ResourceError, OSError) as error:
        return Finding(what, "broken", _advise(f"{path}: {error}", remedy))
    if found != token:
        return Finding(
            what, "broken", _advise(f"{path}: a file that was written there is read back differently", remedy)
        )
    done = cluster.shell.run(["df", "-Pk", str(path)], timeout_seconds=_TIMEOUT_SECONDS)
    free = done.stdout.splitlines()[-1].split() if done.exit_code == 0 else []
    room = f", {int(free[3]) / 1e6:.0f} GB free" if len(free) > 3 and free[3].isdigit() else ""
    return Finding(what, "ok", f"{path}{room}")


def _node(cluster: _Cluster) -> Iterator[Finding]:
    """Run one short job, with the options and the setup of every job, that prints what a node sees."""
    settings, token = cluster.settings, secrets.token_hex(8)
    probe = settings.workspace / _FILE
    script = "\n".join(["echo started", *settings.slurm_setup, 'exec "$@"'])
    command = [settings.slurm_python, "-I", "-S", "-c", _PROBE, token, str(probe), settings.slurm_apptainer]
    words = [f"--immediate={_NODE_WAIT_SECONDS}", "--time=2", "--job-name=ccat-doctor", "--ntasks=1", "--quiet"]
    try:
        cluster.shell.write(probe, token.encode())
        words += _options_of_every_job(settings)
        done = cluster.ask("srun", *words, "--chdir=/", "/bin/sh", "-c", script, "sh", *command)
    except ResourceError as error:
        yield Finding("node", "note", f"no probe could be run: {error}")
        return
    if "started" not in done.stdout.splitlines():
        yield Finding("node", "note", f"no node ran the probe within {_NODE_WAIT_SECONDS} s: {_complaint(done)}")
        return
    yield from _seen_by_node(settings, done)


def _seen_by_node(settings: Settings, done: Completed) -> Iterator[Finding]:
    seen = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    version = seen.get("python")
    if version is None:
        text = f"{settings.slurm_python} cannot be run: {_complaint(done)}"
        yield Finding("node python", "broken", _advise(text, "setting slurm_python"))
        return
    text = f"{settings.slurm_python} is {version}"
    old = tuple(map(int, version.split("."))) < _OLDEST_PYTHON
    yield Finding("node python", "broken" if old else "ok", _advise(text, "setting slurm_python: 3.6") if old else text)
    remedy = "setting pipeline_base_dir: a directory on a disk that all nodes see"
    if seen.get("shared") == "True":
        yield Finding("shared directory", "ok", f"nodes see {settings.workspace}")
    else:
        text = f"nodes do not see what was written to {settings.workspace}: {seen.get('shared')}"
        yield Finding("shared directory", "broken", _advise(text, remedy))
    text = seen.get("apptainer", "missing: it did not end")
    there = not text.startswith("missing")
    remedy = "setting slurm_apptainer, or slurm_setup with a module load"
    yield Finding("node apptainer", "ok" if there else "broken", text if there else _advise(text, remedy))
