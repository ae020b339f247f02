from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import Attempt
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from tests.support.parts.apptainer import Image
from tests.support.worlds.observatory import ObservatoryWorld

# The whole program: the image has Python and nothing of ours.
PROGRAM = (
    "import json, os, pathlib; m = json.loads(pathlib.Path(os.environ['WORKFLOW_MANIFEST']).read_text()); "
    "o = pathlib.Path(os.environ['WORKFLOW_OUTPUT_DIR'], 'science'); o.mkdir(); "
    "s = m['inputs'][0]; t = pathlib.Path(s['path'], s['files'][0]['path']).read_text(); "
    "(o / 'text.txt').write_text(s['path'] + ': ' + t)"
)


def yaml(image: Image) -> str:
    return f"""schema_version: 1
name: contained
description: One step in an image.
owners: [team@example.org]
mode: ad_hoc
trigger: {{type: manual}}
processing_location: local
data_grouping: {{name: all, rules: [{{table: RawDataPackage, column: state, operator: eq, value: archived}}]}}
software:
  - name: copier
    versions: [{{version: 1.0.0, image: {image.path}, sha256: "{image.sha256}", command: [python3, -c, "{PROGRAM}"]}}]
steps:
  - {{name: copy, group_by: [executed_obs_unit], software: copier, version: 1.0.0,
      resources: {{cpus: 1, memory_gb: 1, time_hours: 0.05}}}}
"""


@pytest.mark.real
def test_a_step_is_run_in_its_image_and_says_so(
    observatory: ObservatoryWorld, attached: Attached, apptainer_image: Image
) -> None:
    observatory.scan(0, "photons")
    observatory.declare(yaml(apptainer_image))
    outcome = attached.run_pipeline("contained", RequestOptions(by="test", patient=True))
    assert (outcome.created, outcome.failed) == ({"copy": 1}, [])
    with observatory.ops_db.read() as session:
        attempt = session.scalars(sa.select(Attempt)).one()
    made = Path(str(attempt.directory)) / "output" / "science" / "text.txt"
    assert made.read_text() == "/workflow/input/scan-0: scan-0 photons\n"
    assert (attempt.runtime, attempt.image_sha256) == ("apptainer", apptainer_image.sha256)


@pytest.mark.real
def test_another_image_than_the_declared_one_is_not_run(
    observatory: ObservatoryWorld, attached: Attached, apptainer_image: Image
) -> None:
    observatory.scan(0)
    observatory.declare(yaml(apptainer_image).replace(apptainer_image.sha256, "0" * 64))
    outcome = attached.run_pipeline("contained", RequestOptions(by="test", patient=True))
    with observatory.ops_db.read() as session:
        messages = session.scalars(sa.select(Attempt.failure_message)).all()
    assert len(outcome.failed) == 1
    assert messages
    assert all(f"has sha256 {apptainer_image.sha256}, not {'0' * 64}" in str(message) for message in messages)
