import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resources.backend import Batch, JobRequest, Shape
from resources.errors import SubmissionRefused
from resources.shell.remote_program import program_command
from resources.slurm.options import option_lines
from resources.slurm.parse import compress

LARGEST_SCRIPT_BYTES = 4 * 1024**2  # slurm.conf(5), max_script_size
JOB_ID_VARIABLE = "CCAT_JOB_ID"  # our own: SLURM_JOB_ID differs from task to task of an array
# The wrapper enforces the program's time limit. A job needs more time: the image is verified before, outputs are hashed
# after, and Slurm checks limits only every 30 s or so. Long jobs have much to hash, but must fit into a partition.
_LEAST_MARGIN_MINUTES, _LARGEST_MARGIN_MINUTES = 2, 30
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")


@dataclass(frozen=True)
class Site:
    """What the operator configured for the jobs of one cluster, in contrast to what a declaration says."""

    base: Path
    program: Path
    python: str = "python3"
    apptainer: str = "apptainer"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[str] = ()  # lines of sh before the wrapper, e.g. "module load apptainer"
    throttle: int | None = None  # how many tasks of one batch may run at a time


def job_name(batch_key: str) -> str:
    """Return a batch's job name, by which it is found if the reply to its submission was lost."""
    return f"ccat-{_checked_key(batch_key)}"


def minutes_of_job(time_limit_seconds: float) -> int:
    """Return a job's time limit, in minutes: the program's plus a tenth of it, but at least 2 and at most 30 more."""
    minutes = math.ceil(time_limit_seconds / 60)
    return minutes + min(max(_LEAST_MARGIN_MINUTES, math.ceil(minutes / 10)), _LARGEST_MARGIN_MINUTES)


def render(batch: Batch, site: Site) -> str:
    """Return the script for sbatch; raise SubmissionRefused for text that Slurm or a shell could misread."""
    directives = [f"#SBATCH {word}" for word in _words(batch, site)]
    script = "\n".join(["#!/bin/sh", *directives, "", *_body(batch.requests, site)]) + "\n"
    size = len(script.encode())
    if size > LARGEST_SCRIPT_BYTES:
        limit = f"{len(batch.requests)} jobs make a script of {size} bytes, Slurm takes {LARGEST_SCRIPT_BYTES}"
        raise SubmissionRefused(f"batch {batch.key}: {limit}")
    return script


def _words(batch: Batch, site: Site) -> list[str]:
    """Return the arguments of sbatch; options of the declaration override those of the site."""
    indices = [request.index for request in batch.requests]
    if not indices or min(indices) < 0 or len(set(indices)) < len(indices):
        raise SubmissionRefused(f"batch {batch.key}: needs jobs with places of their own, has {indices[:20]}")
    throttle = f"%{site.throttle}" if site.throttle else ""
    words = [
        f"--job-name={job_name(batch.key)}",
        f"--comment=ccat:{batch.key}",
        f"--array={compress(indices)}{throttle}",
        "--no-requeue",
        "--output=/dev/null",
        f"--chdir={_plain_path(site.base)}",
        "--export=ALL",  # sbatch has a nearly empty environment; any other choice reads the user's profile
        "--nodes=1",
        "--ntasks=1",
    ]
    named = {"partition": site.partition, "account": site.account, "qos": site.qos, "constraint": site.constraint}
    of_site = {name: value for name, value in named.items() if value} | dict(site.options)
    chosen = of_site | dict(batch.shape.options)
    option_lines(of_site, "settings of the cluster")
    return words + _sizes(batch.shape, chosen) + option_lines(chosen, "compute options")


def _sizes(shape: Shape, chosen: Mapping[str, str]) -> list[str]:
    """Return the arguments for processors, memory, time and GPUs, except those that a chosen option replaces."""
    words = [f"--cpus-per-task={int(shape.cpus)}"]
    if "mem-per-cpu" not in chosen:
        words.append(f"--mem={max(1, math.ceil(shape.memory_gb * 1024))}M")
    if shape.time_limit_seconds is not None:
        words.append(f"--time={minutes_of_job(shape.time_limit_seconds)}")
    if shape.gpus and "gres" not in chosen:
        words.append(f"--gres=gpu:{int(shape.gpus)}")
    return words


def _body(requests: Sequence[JobRequest], site: Site) -> list[str]:
    cases = [
        f"  {int(request.index)}) set -- {shlex.quote(_checked_path(request.attempt_directory))}"
        f" {shlex.quote(_checked_key(request.submission_key))} ;;"
        for request in sorted(requests, key=lambda request: request.index)
    ]
    command = shlex.join(program_command(site.python, Path(_checked_path(site.program)), "wrapper"))
    return [
        f'export {JOB_ID_VARIABLE}="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"',
        *site.setup,  # before our `set --`: a sourced script may change the positional parameters
        'case "$SLURM_ARRAY_TASK_ID" in',
        *cases,
        "  *) exit 64 ;;",
        "esac",
        'mkdir -p "$1/logs"',
        f'exec {command} "$1" "$2" >>"$1/logs/wrapper.log" 2>&1',
    ]


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise SubmissionRefused(f"{key!r}: a key consists of letters, digits, '_', '-' and '.'")
    return key


def _plain_path(path: Path) -> str:
    if not re.fullmatch(r"[\w./@+=:,\-]+", _checked_path(path)):
        raise SubmissionRefused(f"{str(path)!r}: sbatch could misread it; name the place with letters, digits and ._-/")
    return str(path)


def _checked_path(path: Path) -> str:
    text = str(path)
    if not path.is_absolute() or any(character in text for character in "\n\r\0") or ".." in path.parts:
        raise SubmissionRefused(f"{text!r}: must be an absolute path on one line without '..'")
    return text
