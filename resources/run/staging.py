"""The plan of an attempt, from its run's rows, and the directories that it needs; no file is read or written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ccat_models.contract.manifest import InputFile, UpstreamProduct
from ccat_models.run.briefing import PackageBriefing, RunBriefing, UpstreamBriefing
from ccat_models.run.work import OpenAttempt
from resources.container.sif_cache import Ready
from resources.errors import StagingFailed
from resources.workspace.directories import AttemptDirectory
from resources.workspace.plan import AttemptPlan, InputSource, SoftwarePlan, UpstreamSource
from resources.workspace.store import Need


@dataclass(frozen=True)
class Software:
    """A software version that is ready to run: its image in the cache, its code below the cluster's base directory."""

    image: Ready | None = None
    code_directory: Path | None = None


def attempt_plan(briefing: RunBriefing, attempt: OpenAttempt, base: Path, software: Software) -> AttemptPlan:
    """Return the plan of an attempt below `base`; raise StagingFailed for an input that the cluster cannot read."""
    run, resources = briefing.run, attempt.resources
    directory = AttemptDirectory(
        base=base,
        pipeline=briefing.pipeline,
        sub_group_key=run.sub_group.key,
        step=run.step.name,
        run_id=run.id,
        number=attempt.number,
    )
    return AttemptPlan(
        directory=directory,
        submission_key=attempt.submission_key,
        revision=briefing.revision,
        created_at=run.created_at,
        final=run.step_revision.final,
        dimensions=_dimensions(run.sub_group.dimensions),
        software=replace(_software(briefing, software), nv=int(resources.get("gpus", 0)) > 0),
        inputs=tuple(_input(package) for package in briefing.packages),
        # Sorted, not in the order in which runs ended: programs sum in the manifest's order, and rounding differs.
        upstream=tuple(sorted(map(_upstream, briefing.upstream), key=lambda item: (item.step, item.sub_group_key))),
        parameters=run.config.parameters,
        cpus=int(resources["cpus"]),
        memory_gb=float(resources["memory_gb"]),
        time_hours=float(resources["time_hours"]),
        time_limit_seconds=float(resources["time_hours"]) * 3600,
    )


def needs_of(plan: AttemptPlan) -> list[Need]:
    """Return the directories that must exist before the attempt can be laid out, each with an error message."""
    packages = [
        Need(source.host_path, f"package {source.name}: no copy can be read here ({source.host_path})")
        for source in plan.inputs
    ]
    return packages + [
        Need(
            source.host_path,
            f"run {source.run_id} ({source.step} {source.sub_group_key}): products are gone from {source.host_path}",
        )
        for source in plan.upstream
    ]


def output_directory(upstream: UpstreamBriefing) -> Path:
    """Return the directory that holds the products of a completed run."""
    run = upstream.run
    return Path(upstream.attempt_directory) / ("output" if run.step_revision.final else f"workspace/{run.step.name}")


def _dimensions(dimensions: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in dimensions.items()}


def _software(briefing: RunBriefing, ready: Software) -> SoftwarePlan:
    version = briefing.run.software_version
    return SoftwarePlan(
        name=version.software.name,
        version=version.version,
        command=tuple(version.command or ()),
        image_reference=version.image_reference,
        image_path=None if ready.image is None else ready.image.path,
        image_sha256=None if ready.image is None else ready.image.sif_sha256,
        code=tuple(version.code),
        code_directory=ready.code_directory,
        code_sha256=version.code_sha256,
    )


def _input(package: PackageBriefing) -> InputSource:
    if package.directory is None:
        raise StagingFailed(f"package {package.name}: no copy that can be read here ({package.directory})")
    return InputSource(
        package_id=package.id,
        name=package.name,
        host_path=Path(package.directory),
        checksum=package.checksum,
        executed_obs_unit=package.executed_obs_unit,
        instrument=package.instrument,
        instrument_module=package.instrument_module,
        metadata=package.metadata,
        files=tuple(InputFile(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256) for f in package.files),
    )


def _upstream(upstream: UpstreamBriefing) -> UpstreamSource:
    run, path = upstream.run, output_directory(upstream)
    return UpstreamSource(
        step=run.step.name,
        sub_group_key=run.sub_group.key,
        dimensions=_dimensions(run.sub_group.dimensions),
        run_id=run.id,
        host_path=path,
        products=tuple(
            UpstreamProduct(
                product_id=product.id,
                type=product.type.value,
                path=product.path,
                size_bytes=product.size_bytes,
                sha256=product.sha256,
            )
            for product in upstream.products
        ),
    )
