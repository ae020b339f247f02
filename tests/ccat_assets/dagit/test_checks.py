from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from ccat_assets.dagit.checks import evaluations
from ccat_models.lineage.run_report import read_reports
from ccat_models.pipeline.values import RESERVED_CHECKS
from ccat_models.tables.base import RunId
from ccat_models.tables.places import READABLE, DataProductPhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.products import QualityMetric
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

KEYS = [f"executed_obs_unit=scan-{number}" for number in range(3)]


@pytest.fixture
def reduced(lab: DagsterWorld) -> DagsterWorld:
    """Give a lab with three runs, one of which keeps no limit."""
    lab.declare("a", "b", "c")
    lab.refresh()
    lab.run_without_dagster()
    return lab


def checked(lab: DagsterWorld, run_id: int = 1) -> dict[str, dg.AssetCheckEvaluation]:
    with lab.application.ops_db.read() as session:
        report = read_reports(session, [RunId(run_id)])[RunId(run_id)]
        return {evaluation.check_name: evaluation for evaluation in evaluations(report)}


def product_file(lab: DagsterWorld) -> Path:
    (found,) = (lab.observatory.base / "workspace").glob("letters/*scan-0/read/run-1/**/science/text.txt")
    return found


def test_a_good_run_passes_all(reduced: DagsterWorld) -> None:
    found = checked(reduced)
    assert {name: one.passed for name, one in found.items()} == dict.fromkeys(RESERVED_CHECKS, True)
    assert {one.partition for one in found.values()} == {KEYS[0]}
    assert found["products_present"].metadata["products"].value == 2
    assert "missing" not in found["products_present"].metadata


def test_a_product_that_is_gone_or_changed_is_named(reduced: DagsterWorld) -> None:
    file = product_file(reduced)
    file.write_text("longer than before")
    found = checked(reduced)["products_present"]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.description == "1 of 2 products are not what was registered"
    missing = found.metadata["missing"]
    assert isinstance(missing, dg.TableMetadataValue)
    assert missing.records[0].data == {"path": "science/text.txt", "finding": "18 bytes, registered with 9"}
    file.unlink()
    assert not checked(reduced)["products_present"].passed
    file.symlink_to("/etc/hostname")
    assert not checked(reduced)["products_present"].passed


def mark_copies(lab: DagsterWorld, status: PhysicalCopyStatus) -> None:
    with lab.application.ops_db.write() as session:
        copies = sa.update(DataProductPhysicalCopy).values(status=status)
        session.execute(copies.where(DataProductPhysicalCopy.path.contains("run-1/")))


@pytest.mark.parametrize("status", [status for status in PhysicalCopyStatus if status not in READABLE])
def test_a_product_that_is_purged_is_not_missed(reduced: DagsterWorld, status: PhysicalCopyStatus) -> None:
    mark_copies(reduced, status)
    product_file(reduced).unlink()
    found = checked(reduced)["products_present"]
    assert (found.passed, found.metadata["products"].value, found.metadata["purged"].value) == (True, 0, 2)


@pytest.mark.parametrize("status", READABLE)
def test_a_product_that_can_be_read_is_looked_at(reduced: DagsterWorld, status: PhysicalCopyStatus) -> None:
    mark_copies(reduced, status)
    found = checked(reduced)["products_present"]
    assert (found.passed, found.metadata["products"].value, found.metadata["purged"].value) == (True, 2, 0)
    product_file(reduced).unlink()
    assert not checked(reduced)["products_present"].passed


def test_a_metric_beyond_its_limit_is_a_warning(reduced: DagsterWorld) -> None:
    with reduced.application.ops_db.write() as session:
        session.execute(sa.update(QualityMetric).where(QualityMetric.run_id == 1).values(maximum=1.0))
    found = checked(reduced)["qa_within_limits"]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == "outside their limits: letters"
    assert found.metadata["outside"].value == 1
    limits = found.metadata["limits"]
    assert isinstance(limits, dg.TableMetadataValue)
    assert limits.records[0].data == {"metric": "letters", "value": 9.0, "minimum": None, "maximum": 1.0, "kept": False}


def test_every_sub_group_has_its_result_and_a_failed_check_holds_nothing_back(reduced: DagsterWorld) -> None:
    product_file(reduced).unlink()
    result = reduced.materialize("read", keys=KEYS)
    assert result.success
    entries = reduced.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event for entry in entries]
    results = {
        (data.partition, data.check_name): data.passed
        for data in (event.event_specific_data for event in events if event is not None)
        if isinstance(data, dg.AssetCheckEvaluation)
    }
    assert results == {(key, name): True for key in KEYS for name in RESERVED_CHECKS} | {
        (KEYS[0], "products_present"): False
    }
