import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ccat_models.contract import schemas
from resources.errors import ChangeRequest, UnsafePath
from resources.workspace.plan import RenderedAttempt, SoftwarePlan, render_job
from tests.support.hands.plans import plan

GOLDENS = Path(__file__).parent / "goldens"
BASE, ARCHIVE, CODE = Path("/base"), Path("/archive"), Path("/software")
COMMAND = ("{python}", "reduce.py", "--mode=fast", "other.py")
PROCESS = SoftwarePlan(
    "chai-calibration", "1.0.0", COMMAND, code=("reduce.py",), code_directory=CODE, code_sha256="ab" * 32
)
CONTAINED = SoftwarePlan(
    "chai-calibration",
    "1.0.0",
    COMMAND,
    image_reference="chai/calibration:1.0.0",
    image_path=Path("/images/chai.sif"),
    image_sha256="cd" * 32,
    code=("reduce.py",),
    code_directory=CODE,
    nv=True,
)


def shown(rendered: RenderedAttempt) -> dict[str, Any]:
    return {
        "manifest": rendered.manifest.model_dump(mode="json"),
        "job": rendered.job.model_dump(mode="json"),
        "links": {str(link): str(target) for link, target in rendered.links.items()},
    }


@pytest.mark.parametrize(
    ("name", "software", "fields"),
    [
        ("process-final", PROCESS, {}),
        ("process-intermediate", PROCESS, {"final": False, "upstream": (), "time_limit_seconds": None}),
        ("apptainer-final", CONTAINED, {}),
        ("apptainer-intermediate", CONTAINED, {"final": False, "inputs": (), "isolate_network": False}),
    ],
)
def test_rendering_is_the_golden(name: str, software: SoftwarePlan, fields: dict[str, Any]) -> None:
    rendered = render_job(
        plan(BASE, ARCHIVE, software, job_id_variable="SLURM_JOB_ID", **fields),
        python="/venv/bin/python",
        apptainer="/bin/apptainer",
    )
    found = shown(rendered)
    jsonschema.validate(found["manifest"], schemas.schema("manifest.json"))
    golden = json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))
    assert found == golden


def test_image_runs_its_own_program_when_there_is_no_command() -> None:
    software = SoftwarePlan("x", "1.0.0", (), image_path=Path("/x.sif"), image_sha256="cd" * 32)
    command = render_job(plan(BASE, ARCHIVE, software), python="python3").job.command
    assert command[:3] == ("apptainer", "-q", "run")
    assert command[-1] == "/x.sif"


def test_image_without_its_digest_is_refused() -> None:
    with pytest.raises(ChangeRequest, match=r"x 1\.0\.0: image /x\.sif needs its sha256"):
        SoftwarePlan("x", "1.0.0", (), image_path=Path("/x.sif"))


def test_two_inputs_at_one_place_are_refused() -> None:
    both = plan(BASE, ARCHIVE, PROCESS).inputs * 2
    with pytest.raises(UnsafePath, match="two inputs would be found at input/NGC253%200001%2FCHAI"):
        render_job(plan(BASE, ARCHIVE, PROCESS, inputs=both), python="python3")
