"""One attempt's plan, whose program reads its manifest and every input and writes every kind of product."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ccat_models.contract.manifest import InputFile, UpstreamProduct
from resources.workspace.directories import AttemptDirectory
from resources.workspace.plan import AttemptPlan, InputSource, SoftwarePlan, UpstreamSource

SUB_GROUP = "executed_obs_unit=NGC253-0001+line=CO%284-3%29"


def attempt_directory(base: Path) -> AttemptDirectory:
    """Return the directory of attempt 2 of run 12."""
    return AttemptDirectory(base, "chai-ngc253", SUB_GROUP, "calibrate", 12, 2)


def input_source(archive: Path) -> InputSource:
    """Return a package whose name needs encoding."""
    return InputSource(
        package_id=3,
        name="NGC253 0001/CHAI",
        host_path=archive / "raw 3",
        checksum="9e" * 32,
        executed_obs_unit="NGC253-0001",
        instrument="CHAI",
        instrument_module="CHAI",
        metadata={"observation": {"frequency_ghz": 461.0407682}},
        files=(InputFile(path="scan.fits", size_bytes=4, sha256="77" * 32),),
    )


def upstream_source(archive: Path) -> UpstreamSource:
    """Return a run of the step before."""
    return UpstreamSource(
        step="flag",
        sub_group_key="executed_obs_unit=NGC253-0001",
        dimensions={"executed_obs_unit": "NGC253-0001"},
        run_id=5,
        host_path=archive / "flag",
        products=(
            UpstreamProduct(product_id=9, type="intermediate", path="spectra.fits", size_bytes=4, sha256="c0" * 32),
        ),
    )


def plan(base: Path, archive: Path, software: SoftwarePlan, **fields: Any) -> AttemptPlan:
    """Return a plan with one input and one upstream run."""
    values: dict[str, Any] = {
        "directory": attempt_directory(base),
        "submission_key": "6f0c0de5",
        "revision": 1,
        "created_at": datetime(2026, 3, 7, 12, tzinfo=UTC),
        "final": True,
        "dimensions": {"executed_obs_unit": "NGC253-0001", "line": "CO(4-3)"},
        "software": software,
        "inputs": (input_source(archive),),
        "upstream": (upstream_source(archive),),
        "parameters": {"calibration_mode": "hot_cold"},
        "cpus": 2,
        "memory_gb": 1.5,
        "time_hours": 0.1,
        "time_limit_seconds": 360.0,
    }
    return AttemptPlan(**(values | fields))
