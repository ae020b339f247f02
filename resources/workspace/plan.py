"""The plan of an attempt, as plain values, and its rendering to manifest.json, job.json and links or bind mounts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ccat_models.contract.job import Job, Runtime
from ccat_models.contract.manifest import (
    InputFile,
    Manifest,
    ManifestInput,
    ManifestResources,
    ManifestRun,
    ManifestStep,
    ManifestSubGroup,
    ManifestUpstream,
    UpstreamProduct,
)
from resources.container.apptainer import Bind, apptainer_command
from resources.errors import ChangeRequest, UnsafePath
from resources.workspace.directories import AttemptDirectory, path_component

CONTAINER_ROOT = Path("/workflow")


@dataclass(frozen=True)
class InputSource:
    """One raw data package and where its files are on the machine that runs the attempt."""

    package_id: int
    name: str
    host_path: Path
    checksum: str
    executed_obs_unit: str
    instrument: str
    instrument_module: str
    metadata: Mapping[str, Any]
    files: tuple[InputFile, ...]


@dataclass(frozen=True)
class UpstreamSource:
    """One upstream run and where its output directory is on the machine that runs the attempt."""

    step: str
    sub_group_key: str
    dimensions: Mapping[str, str]
    run_id: int
    host_path: Path
    products: tuple[UpstreamProduct, ...]


@dataclass(frozen=True)
class SoftwarePlan:
    """The software version to run: in its image if it has one, else as a plain process.

    In `command`, "{python}" stands for the interpreter, and a name in `code` for that file of `code_directory`. `nv`
    makes the node's GPUs visible in the image. Raises ChangeRequest for an image without its sha256.
    """

    name: str
    version: str
    command: tuple[str, ...]
    image_reference: str | None = None
    image_path: Path | None = None
    image_sha256: str | None = None
    code: tuple[str, ...] = ()
    code_directory: Path | None = None
    code_sha256: str | None = None
    nv: bool = False

    def __post_init__(self) -> None:
        if self.image_path is not None and self.image_sha256 is None:
            raise ChangeRequest(f"{self.name} {self.version}: image {self.image_path} needs its sha256")

    @property
    def runtime(self) -> Runtime:
        """Return how the software is run."""
        return "process" if self.image_path is None else "apptainer"


@dataclass(frozen=True)
class AttemptPlan:
    """All that defines one attempt: identity, software, inputs, parameters and resources."""

    directory: AttemptDirectory
    submission_key: str
    revision: int
    created_at: datetime
    final: bool
    dimensions: Mapping[str, str]
    software: SoftwarePlan
    inputs: tuple[InputSource, ...]
    upstream: tuple[UpstreamSource, ...]
    parameters: Mapping[str, Any]
    cpus: int
    memory_gb: float
    time_hours: float
    time_limit_seconds: float | None
    job_id_variable: str | None = None
    ended_directory: Path | None = None
    isolate_network: bool = True


@dataclass(frozen=True)
class RenderedAttempt:
    """The two files to write into an attempt's directory, and the symbolic links to make: link → target."""

    manifest: Manifest
    job: Job
    links: Mapping[Path, Path] = field(default_factory=dict)


def render_job(plan: AttemptPlan, *, python: str, apptainer: str = "apptainer") -> RenderedAttempt:
    """Return the rendered attempt; nothing is read or written.

    `python` is the interpreter of plain processes, `apptainer` the program that starts an image, both on the machine
    that runs the attempt. Raises UnsafePath where two inputs would have the same place.
    """
    seen = plan.directory.path if plan.software.image_path is None else CONTAINER_ROOT
    sources = _sources(plan)
    manifest = _manifest(plan, seen)
    environment = _environment(plan, seen)
    command = _command(plan.software, python, seen)
    if plan.software.image_path is None:
        links = {plan.directory.path / place: target for place, target in sources.items()}
        output = str(plan.directory.output(final=plan.final))
        return RenderedAttempt(manifest, _job(plan, command, environment, output), links)
    contained = apptainer_command(
        str(plan.software.image_path),
        _binds(plan, sources),
        environment,
        environment["WORKFLOW_OUTPUT_DIR"],
        command,
        nv=plan.software.nv,
        isolate_network=plan.isolate_network,
        apptainer=apptainer,
    )
    return RenderedAttempt(manifest, _job(plan, contained, {}, str(plan.directory.path)))


def _sources(plan: AttemptPlan) -> dict[Path, Path]:
    """Return where the program finds each input, relative to the attempt's directory → its path on the host."""
    root, sources = plan.directory.path, {}
    found = [(plan.directory.input(source.name), source.host_path) for source in plan.inputs]
    found += [(plan.directory.upstream(item.step, item.sub_group_key), item.host_path) for item in plan.upstream]
    for place, host_path in found:
        if place.relative_to(root) in sources:
            raise UnsafePath(f"two inputs would be found at {place.relative_to(root)}")
        sources[place.relative_to(root)] = host_path
    return sources


def _binds(plan: AttemptPlan, sources: Mapping[Path, Path]) -> list[Bind]:
    root, output = plan.directory.path, plan.directory.output_name(final=plan.final)
    binds = [
        Bind(str(root / "config"), str(CONTAINER_ROOT / "config"), read_only=True),
        Bind(str(root / "logs"), str(CONTAINER_ROOT / "logs"), read_only=False),
        Bind(str(root / output), str(CONTAINER_ROOT / output), read_only=False),
        # apptainer's own /tmp is a 64 MB file system in memory ("sessiondir max size")
        Bind(str(root / "tmp"), "/tmp", read_only=False),  # noqa: S108 - the container's own
    ]
    binds += [Bind(str(host), str(CONTAINER_ROOT / place), read_only=True) for place, host in sources.items()]
    if plan.software.code_directory is not None:
        binds.append(Bind(str(plan.software.code_directory), str(CONTAINER_ROOT / "code"), read_only=True))
    return binds


def _command(software: SoftwarePlan, python: str, seen: Path) -> tuple[str, ...]:
    contained = software.runtime == "apptainer"
    directory = seen / "code" if contained else software.code_directory
    words = {"{python}": "python3" if contained else python}
    if directory is not None:
        words |= {name: str(directory / name) for name in software.code}
    return tuple(words.get(word, word) for word in software.command)


def _environment(plan: AttemptPlan, seen: Path) -> dict[str, str]:
    directory = plan.directory
    return {
        "WORKFLOW_MANIFEST": str(seen / "config" / "manifest.json"),
        "WORKFLOW_OUTPUT_DIR": str(seen / directory.output_name(final=plan.final)),
        "WORKFLOW_STEP": directory.step,
        "WORKFLOW_SUB_GROUP": directory.sub_group_key,
        "WORKFLOW_RUN_ID": str(directory.run_id),
        "WORKFLOW_ATTEMPT": str(directory.number),
        "WORKFLOW_CPUS": str(plan.cpus),
        "WORKFLOW_MEMORY_GB": f"{plan.memory_gb:g}",
    }


def _job(plan: AttemptPlan, command: Any, environment: Mapping[str, str], working_directory: str) -> Job:
    software, directory = plan.software, plan.directory
    return Job(
        submission_key=plan.submission_key,
        run_id=directory.run_id,
        attempt=directory.number,
        command=tuple(command),
        environment=dict(environment),
        working_directory=working_directory,
        output_directory=directory.output_name(final=plan.final),
        time_limit_seconds=plan.time_limit_seconds,
        runtime=software.runtime,
        image_path=None if software.image_path is None else str(software.image_path),
        image_sha256=None if software.image_path is None else software.image_sha256,
        job_id_variable=plan.job_id_variable,
        ended_directory=None if plan.ended_directory is None else str(plan.ended_directory),
    )


def _manifest(plan: AttemptPlan, seen: Path) -> Manifest:
    software, directory = plan.software, plan.directory
    contained = software.runtime == "apptainer"
    return Manifest(
        run=ManifestRun(
            id=directory.run_id,
            attempt=directory.number,
            submission_key=plan.submission_key,
            pipeline=directory.pipeline,
            revision=plan.revision,
            created_at=plan.created_at,
        ),
        step=ManifestStep(
            name=directory.step,
            final=plan.final,
            software=software.name,
            version=software.version,
            image_reference=software.image_reference if contained else None,
            image_sha256=software.image_sha256 if contained else None,
            code_sha256=software.code_sha256,
        ),
        sub_group=ManifestSubGroup(key=directory.sub_group_key, dimensions=dict(plan.dimensions)),
        inputs=tuple(_manifest_input(source, seen) for source in plan.inputs),
        upstream=tuple(_manifest_upstream(source, seen) for source in plan.upstream),
        parameters=dict(plan.parameters),
        resources=ManifestResources(cpus=plan.cpus, memory_gb=plan.memory_gb, time_hours=plan.time_hours),
    )


def _manifest_input(source: InputSource, seen: Path) -> ManifestInput:
    return ManifestInput(
        package_id=source.package_id,
        name=source.name,
        path=str(seen / "input" / path_component(source.name)),
        checksum=source.checksum,
        metadata=dict(source.metadata),
        executed_obs_unit=source.executed_obs_unit,
        instrument=source.instrument,
        instrument_module=source.instrument_module,
        files=source.files,
    )


def _manifest_upstream(source: UpstreamSource, seen: Path) -> ManifestUpstream:
    return ManifestUpstream(
        step=source.step,
        sub_group=source.sub_group_key,
        dimensions=dict(source.dimensions),
        run_id=source.run_id,
        path=str(seen / "upstream" / source.step / source.sub_group_key),
        products=source.products,
    )
