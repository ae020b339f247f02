"""From a run's rows to its attempt's directory: the plan is pure, laying it out is `workspace.prepare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccat_models.contract.manifest import InputFile, UpstreamProduct
from ccat_models.run.briefing import PackageBriefing, RunBriefing, UpstreamBriefing
from ccat_models.run.work import OpenAttempt
from resources.attempt_plan import AttemptPlan, InputSource, SoftwarePlan, UpstreamSource
from resources.errors import StagingFailed
from resources.workspace import AttemptDirectory


def attempt_plan(
    briefing: RunBriefing, attempt: OpenAttempt, resources: Mapping[str, Any], base: Path, image_path: Path | None
) -> AttemptPlan:
    """Return the plan of an attempt; raise StagingFailed where an input has no copy that this machine can read."""
    run = briefing.run
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
        software=_software(briefing, image_path),
        inputs=tuple(_input(package) for package in briefing.packages),
        upstream=tuple(_upstream(upstream) for upstream in briefing.upstream),
        parameters=run.config.parameters,
        cpus=int(resources["cpus"]),
        memory_gb=float(resources["memory_gb"]),
        time_hours=float(resources["time_hours"]),
        time_limit_seconds=float(resources["time_hours"]) * 3600,
    )


def output_directory(upstream: UpstreamBriefing) -> Path:
    """Return where the products of a completed run lie."""
    run = upstream.run
    return Path(upstream.attempt_directory) / ("output" if run.step_revision.final else f"workspace/{run.step.name}")


def _dimensions(dimensions: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in dimensions.items()}


def _software(briefing: RunBriefing, image_path: Path | None) -> SoftwarePlan:
    version = briefing.run.software_version
    return SoftwarePlan(
        name=version.software.name,
        version=version.version,
        command=tuple(version.command or ()),
        image_reference=version.image_reference,
        image_path=image_path,
        image_sha256=version.image_sha256,
        code=tuple(version.code),
        code_directory=None if version.code_directory is None else Path(version.code_directory),
        code_sha256=version.code_sha256,
    )


def _input(package: PackageBriefing) -> InputSource:
    if package.directory is None or not Path(package.directory).is_dir():
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
    if not path.is_dir():
        raise StagingFailed(f"run {run.id} ({run.step.name} {run.sub_group.key}): its products are gone from {path}")
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
