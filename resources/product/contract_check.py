"""Check whether a program keeps the container contract: run it by the real wrapper, in an attempt made up for it."""

import hashlib
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ccat_models.contract.exit_codes import exit_status
from ccat_models.contract.manifest import InputFile
from ccat_models.contract.result import Result
from ccat_models.fingerprint import files_checksum
from resources.errors import OutputsUnusable, ResultUnreadable, UnsafePath
from resources.shell.remote_program import program_command
from resources.workspace.directories import AttemptDirectory
from resources.workspace.outputs import check_paths, file_sha256, read_metrics
from resources.workspace.plan import AttemptPlan, InputSource, SoftwarePlan, render_job
from resources.workspace.store import AttemptStore, Found, Layout

_SLACK_SECONDS = 60.0


@dataclass(frozen=True)
class Check:
    """One clause of the contract and whether the program kept it."""

    clause: str
    kept: bool
    finding: str


@dataclass(frozen=True)
class Trial:
    """What to check: a command, in an image or as a process, on a directory of input files (or none)."""

    command: Sequence[str]
    image: Path | None
    input_directory: Path | None
    parameters: Mapping[str, Any]
    time_limit_seconds: float


def check_contract(trial: Trial, base: Path, *, python: str, now: datetime) -> list[Check]:
    """Run the program once below the directory `base`, as an attempt is run; return a check for each clause.

    Raises UnsafePath where the attempt cannot be laid out, and subprocess.TimeoutExpired where the wrapper does not
    end within a minute after the time limit.
    """
    key = uuid.uuid4().hex
    directory = AttemptDirectory(base, "contract-check", "all", "check", 1, 1)
    plan = _plan(trial, directory, key, now)
    rendered = render_job(plan, python=python)
    store = AttemptStore.here(base)
    for problem in store.lay_out([Layout(directory, rendered)]).values():
        raise UnsafePath(problem)
    before = _digest(trial.input_directory)
    wrapper = program_command(python, store.install_program(), "wrapper", str(directory.path), key)
    subprocess.run(wrapper, check=False, timeout=trial.time_limit_seconds + _SLACK_SECONDS, capture_output=True)
    found = store.look([directory.path])[directory.path]
    try:
        result = replace(found, problem=None).result(directory.path, key)
    except ResultUnreadable as error:
        return [Check("leaves a result", kept=False, finding=str(error))]
    if result is None:
        return [Check("leaves a result", kept=False, finding="the wrapper ended without result.json")]
    untouched = _digest(trial.input_directory) == before
    return [
        _ended(result),
        Check("leaves its input alone", untouched, "unchanged" if untouched else "its input files have changed"),
        *_outputs(directory.path, result, found),
    ]


def _plan(trial: Trial, directory: AttemptDirectory, key: str, now: datetime) -> AttemptPlan:
    image_sha256 = None if trial.image is None else file_sha256(trial.image)
    return AttemptPlan(
        directory=directory,
        submission_key=key,
        revision=1,
        created_at=now,
        final=True,
        dimensions={},
        software=SoftwarePlan(
            name="contract-check",
            version="0.0.0",
            command=tuple(trial.command),
            image_reference=None if trial.image is None else str(trial.image),
            image_path=trial.image,
            image_sha256=image_sha256,
        ),
        inputs=() if trial.input_directory is None else (_input(trial.input_directory),),
        upstream=(),
        parameters=trial.parameters,
        cpus=1,
        memory_gb=1.0,
        time_hours=trial.time_limit_seconds / 3600,
        time_limit_seconds=trial.time_limit_seconds,
    )


def _input(directory: Path) -> InputSource:
    files = tuple(
        InputFile(path=path.relative_to(directory).as_posix(), size_bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    )
    return InputSource(
        package_id=1,
        name=directory.name,
        host_path=directory.resolve(),
        checksum=files_checksum({file.path: file.sha256 for file in files}),
        executed_obs_unit="contract-check",
        instrument="contract-check",
        instrument_module="contract-check",
        metadata={},
        files=files,
    )


def _digest(directory: Path | None) -> str:
    if directory is None:
        return ""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    lines = "".join(f"{file_sha256(path)}  {path}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _ended(result: Result) -> Check:
    meaning = "" if result.exit_code is None else f" ({exit_status(result.exit_code).meaning.value})"
    description = (
        f"{result.outcome}, exit code {result.exit_code}{meaning}, {result.wall_seconds:.1f} s. {result.message}"
    )
    return Check("ends with exit code 0", result.outcome == "completed", description.strip())


def _outputs(directory: Path, result: Result, found: Found) -> list[Check]:
    kinds = sorted({output.type for output in result.outputs})
    left = f"{len(result.outputs)} files: {', '.join(kinds)}" if kinds else "nothing in WORKFLOW_OUTPUT_DIR"
    checks = [
        Check("leaves products", bool(kinds), left),
        Check("writes into known directories only", not result.warnings, "; ".join(result.warnings) or "no warnings"),
    ]
    if found.problem is not None:
        return [*checks, Check("leaves what it says", kept=False, finding=found.problem)]
    try:
        check_paths(directory, result)
        metrics = read_metrics(directory, found.output_directory or "", found.numbers)
    except OutputsUnusable as error:
        return [*checks, Check("qa/*.json hold numbers", kept=False, finding=str(error))]
    names = sorted(metric.name for found_metrics in metrics.values() for metric in found_metrics)
    return [*checks, Check("qa/*.json hold numbers", kept=True, finding=", ".join(names) or "no numbers")]
