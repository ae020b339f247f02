from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.lineage.completed import completed_runs, current_runs
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.places import DataProductPhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.products import QualityMetric
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, step

READ, READ_TOO, JOIN, AGAIN = map(RunId, range(1, 5))


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give two runs that completed, the second at its second attempt, one that read their products, and a re-run."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in (0, 1):
        works.observatory.scan(number)
    works.declare(step("read", retries={**NO_RETRIES, "lost": 1}), step("join", [], depends_on=["read"]))
    works.request()
    works.fail(READ_TOO, failure=FailureClass.LOST)
    works.complete()
    works.request()
    works.complete()
    works.ask("read", "scan-0", force=True)
    works.complete()
    return works


def test_the_attempt_that_completed_and_what_it_made(works: ManualWorld) -> None:
    with works.cluster.ops_db.write() as session:
        session.add(QualityMetric(run_id=READ_TOO, data_product_id=2, name="letters", value=4.0))
    with works.cluster.ops_db.read() as session:
        found = completed_runs(session, [READ, READ_TOO, JOIN, RunId(99)])
    assert {run: record.attempt.number for run, record in found.items()} == {READ: 1, READ_TOO: 2, JOIN: 1}
    assert [(path, product.id) for path, product in found[READ_TOO].products.items()] == [("science/text.txt", 2)]
    assert found[READ_TOO].numbers == {"science/text.txt": {"letters": 4.0}}
    assert found[READ].numbers == {}
    assert [record.changed_inputs for record in found.values()] == [[]] * 3


def test_inputs_that_changed_since_the_run_are_listed(works: ManualWorld) -> None:
    works.observatory.withdraw(0)
    works.observatory.scan(1, "other counts")
    copy = DataProductPhysicalCopy
    with works.cluster.ops_db.write() as session:
        gone = sa.update(copy).where(copy.data_product_id == READ_TOO)
        session.execute(gone.values(status=PhysicalCopyStatus.DELETED))
    with works.cluster.ops_db.read() as session:
        found = {run: record.changed_inputs for run, record in completed_runs(session, [READ, READ_TOO, JOIN]).items()}
    assert found[READ] == ["package scan-0: withdrawn, it is failed and not archived"]
    assert found[READ_TOO][0].startswith("package scan-1: changed, checksum ")
    assert found[JOIN] == ["product 2 (science/text.txt of run 2): purged"]


def test_the_current_run_of_a_sub_group_is_the_newest(works: ManualWorld) -> None:
    with works.cluster.ops_db.read() as session:
        assert current_runs(session, "letters") == [READ_TOO, JOIN, AGAIN]
        assert current_runs(session, "other") == []
