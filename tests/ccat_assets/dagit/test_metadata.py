import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from PIL import Image

from ccat_assets.dagit.metadata import MOST_PLOTS, metadata_of, tags_of
from ccat_assets.dagit.publish import publish
from ccat_models.lineage.run_report import ROWS_SHOWN, read_reports
from ccat_models.tables.base import RunId
from ccat_models.tables.products import DataProduct
from resources.workspace.software import code_sha256
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEY = "executed_obs_unit=scan-0"
# Leaves plots of noise, which no compression makes small, a long log, and links to where they do not belong.
SHOWY = """
import os, pathlib, sys
from PIL import Image
out = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"])
for name in ("science", "qa", "plots"):
    (out / name).mkdir()
(out / "science" / "cube.fits").write_bytes(b"cube")
(out / "qa" / "noise.json").write_text('{"rms_k": 0.25, "rms_k_max": 0.5, "good": true, "worst": 9.5, "worst_max": 3}')
for name in "abcd":
    size = (1200, 900)
    Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1])).save(out / "plots" / f"{name}.png")
(out / "plots" / "0broken.png").write_bytes(b"not a picture")
print("\\n".join(f"line {n}" for n in range(100)))
print("\\033[31mred\\033[0m <script>alert(1)</script> ![x](y)", file=sys.stderr)
"""


@pytest.fixture
def showy(lab: DagsterWorld) -> DagsterWorld:
    """Give a lab whose one program leaves much to show."""
    (lab.code / "reduce.py").write_text(SHOWY)
    lab.declare("a")
    lab.refresh()
    lab.materialize("read", keys=[KEY])
    return lab


def shown(lab: DagsterWorld, step: str = "read") -> dict[str, Any]:
    return {name: value.value for name, value in lab.materializations(step)[0].metadata.items()}


def rows(value: dg.MetadataValue[Any], number: int = 0) -> dict[str, Any]:
    assert isinstance(value, dg.TableMetadataValue)
    return dict(value.records[number].data)


def test_an_event_contains_products_and_numbers(showy: DagsterWorld) -> None:
    metadata = showy.materializations("read")[0].metadata
    products = metadata["products"]
    assert isinstance(products, dg.TableMetadataValue)
    paths = [record.data["path"] for record in products.records]
    assert paths == [*(f"plots/{n}.png" for n in ("0broken", *"abcd")), "qa/noise.json", "science/cube.fits"]
    sha256 = hashlib.sha256(b"cube").hexdigest()
    assert rows(products, -1) == {"type": "science", "path": paths[-1], "size_bytes": 4, "sha256": sha256}
    assert metadata["reproduce"].value == f"ccat reproduce run:{metadata['run_id'].value}", "later runs are others"
    numbers = {name: value for name, value in metadata.items() if name.startswith("qa/")}
    assert {name: value.value for name, value in numbers.items()} == {"qa/good": 1.0, "qa/rms_k": 0.25, "qa/worst": 9.5}
    assert all(isinstance(value, dg.FloatMetadataValue) for value in numbers.values())


def test_plots_are_pictures_made_small(showy: DagsterWorld) -> None:
    plots = {name: value for name, value in shown(showy).items() if name.startswith("plot/")}
    assert list(plots) == [f"plot/{name}" for name in "abc"]
    assert len(plots) == MOST_PLOTS
    for text in plots.values():
        assert text.startswith("![plot](data:image/png;base64,")
        picture = base64.b64decode(text.removeprefix("![plot](data:image/png;base64,").removesuffix(")"))
        with Image.open(io.BytesIO(picture)) as image:
            assert image.format == "PNG"
            assert 100 <= image.width < 1200


def test_an_event_stays_small(showy: DagsterWorld) -> None:
    text = json.dumps({name: str(value.value) for name, value in showy.materializations("read")[0].metadata.items()})
    assert 20_000 < len(text) < 100_000


def test_the_end_of_the_log_is_shown_verbatim_and_not_interpreted(showy: DagsterWorld) -> None:
    log = shown(showy)["log"]
    assert "    line 99\n" in log
    assert "line 60\n" in log
    assert "line 59\n" not in log
    assert log.endswith("stderr:\n\n    red <script>alert(1)</script> ![x](y)")
    assert all(line.startswith(("    ", "std")) or not line for line in log.splitlines())


def test_an_event_names_its_origin(lab: DagsterWorld) -> None:
    lab.declare("a", "b", "c")
    lab.refresh()
    for step, key in (("read", KEY), ("clean", KEY)):
        assert lab.materialize(step, keys=[key]).success
    read, clean = shown(lab), shown(lab, "clean")
    assert read["package_count"] == 1
    assert rows(lab.materializations("read")[0].metadata["packages"])["package"] == "scan-0"
    assert len(str(rows(lab.materializations("read")[0].metadata["packages"])["checksum"])) == 64
    assert "upstream" not in read
    assert rows(lab.materializations("clean")[0].metadata["upstream"]) == {
        "step": "read",
        "sub_group": KEY,
        "run_id": 1,
    }
    assert "packages" not in clean
    assert clean["software"] == "letters 1.0.0"
    assert clean["runtime"] == "plain process, no container"
    assert clean["code"] == f"reduce.py (sha256 {code_sha256(lab.code, ['reduce.py'])})"
    assert clean["parameters"] == {"calls": str(lab.calls), "seconds": 0}
    assert clean["command"].endswith(f"/.code/{code_sha256(lab.code, ['reduce.py'])}/reduce.py")
    assert (clean["reason"], clean["run_id"], clean["attempt"]) == ("missing", 2, 1)
    assert clean["requested_by"].startswith("dagster:")
    assert clean["wall_s"] > 0
    assert clean["peak_mb"] > 1
    assert Path(clean["directory"]).is_dir()
    assert clean["fingerprint"].startswith("2-")


def test_tags_are_words_that_dagster_takes(lab: DagsterWorld) -> None:
    lab.declare("a", "a other")
    lab.run_without_dagster()
    publish(lab.application, lab.instance)
    first, second = (event.tags or {} for event in lab.materializations("read"))
    assert len(first["dagster/data_version"]) == 16
    assert first["dagster/data_version"] != second["dagster/data_version"]
    assert {name: first[name] for name in first if name.startswith("ccat/")} == {
        "ccat/run_id": "1",
        "ccat/software_version": "1.0.0",
        "ccat/pipeline_revision": "1",
    }


def test_many_inputs_are_counted_and_the_first_are_shown(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare(*["a"] * 3, when="any")
    lab.run_without_dagster()
    with lab.application.ops_db.write() as session:
        columns = ("type", "size_bytes", "sha256", "created_at", "extra")
        product = session.scalars(sa.select(DataProduct)).first()
        assert product is not None
        values = {name: getattr(product, name) for name in columns}
        session.add_all(DataProduct(run_id=1, path=f"intermediate/{n}", **values) for n in range(2 * ROWS_SHOWN))
    with lab.application.ops_db.read() as session:
        joined = [
            r for r in read_reports(session, [RunId(n) for n in range(1, 9)]).values() if r.run.step.name == "join"
        ]
        assert [(one.upstream.count, len(one.upstream.shown)) for one in joined] == [(2, 2), (1, 1)]
        assert [up.sub_group for up in joined[0].upstream.shown] == [KEY, "executed_obs_unit=scan-2"]


def test_a_batch_is_read_in_few_queries(lab: DagsterWorld) -> None:
    lab.declare(*["a"] * 4)
    other = pipeline_yaml(lab.calls, name="other", seconds="0.01").replace("- name: letters", "- name: other")
    lab.observatory.declare(other.replace("software: letters", "software: other"), lab.code)
    for pipeline in ("letters", "other"):
        lab.run_without_dagster(pipeline)

    def read(count: int) -> None:
        with lab.application.ops_db.read() as session:
            reports = read_reports(session, [RunId(n + 1) for n in range(count)])
            assert all(tags_of(report) and metadata_of(report) for report in reports.values())
            assert len(reports) == count

    assert lab.count_queries(lambda: read(20)) == lab.count_queries(lambda: read(1)) <= 9
