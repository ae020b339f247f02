from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.tables.pipelines import ReductionStep
from ccat_models.tables.places import DataProductPhysicalCopy
from ccat_models.tables.products import DataProduct
from ccat_models.tables.space import RunSpace, SpaceState
from tests.support.worlds.letters import LettersWorld

pytestmark = pytest.mark.slow

P, G = SpaceState.PRESENT, SpaceState.PURGED


def test_intermediates_are_purged_and_cause_no_runs(tiny: LettersWorld) -> None:
    tiny.declare(0, 1, 2, 3)
    assert tiny.run().failed == []
    tiny.called()
    freed = tiny.purge()
    assert (freed.freed_runs, freed.problem) == (8, None)
    assert tiny.state("read") == tiny.state("clean") == [G] * 4
    assert tiny.state("join") == [P, P]
    tiny.check_disk()
    tiny.run()
    assert tiny.called() == Counter()


def test_only_what_a_new_run_reads_is_regenerated(tiny: LettersWorld) -> None:
    tiny.declare(0, 1, 2, 3)
    tiny.run()
    before = tiny.text("join", "source=source-1")
    tiny.purge()
    tiny.called()
    tiny.observatory.scan(4)
    outcome = tiny.run()
    assert outcome.failed == []
    expected = [f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2, 4)]
    assert tiny.called() == Counter([*expected, "join source-1"])
    assert tiny.text("join", "source=source-1") == before + "scan-4 counts\n"
    assert tiny.spaces()["read scan-0"] == ["PRESENT", "-"]
    assert tiny.spaces()["read scan-1"] == ["PURGED"]
    tiny.check_disk()


def test_different_regenerated_products_replace_the_old_ones_without_further_runs(tiny: LettersWorld) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    tiny.calls.with_name("salt-read").write_text("salt\n")
    tiny.observatory.scan(4)
    assert tiny.run(step="join").failed == []
    tiny.run()
    called = tiny.called()
    assert called["join source-1"] == 1
    assert called["read scan-0"] == called["clean scan-0"] == 1
    assert tiny.spaces()["read scan-0"] == ["REPLACED", "PRESENT"]
    assert tiny.spaces()["clean scan-0"] == ["REPLACED", "PRESENT"]
    assert tiny.text("join", "source=source-1").count("salt") == 3
    tiny.check_disk()
    tiny.run()
    assert tiny.called() == Counter()


def test_products_that_must_stay_are_skipped_in_few_passes(tiny: LettersWorld) -> None:
    """Most products used first are unverified; the removable ones are found, and no more are removed than wanted."""
    tiny.declare(*range(0, 24, 2))
    tiny.run()
    ops_db, passes = tiny.cluster.ops_db, list[str]()
    runs = sa.select(RunSpace.run_id).where(RunSpace.removable_bytes > 0)
    with ops_db.write() as session:
        intermediate = runs.join(ReductionStep, ReductionStep.id == RunSpace.step_id).where(
            ReductionStep.name != "join"
        )
        ordered = session.scalars(intermediate.order_by(RunSpace.last_used_at, RunSpace.run_id)).all()
        products = sa.select(DataProduct.id).where(DataProduct.run_id.in_(ordered[:21]))
        copies = sa.update(DataProductPhysicalCopy).where(DataProductPhysicalCopy.data_product_id.in_(products))
        session.execute(copies.values(checksum_verified_at=None).execution_options(synchronize_session=False))

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        passes.extend([statement] if "INSERT INTO purge_picked" in statement else [])

    sa.event.listen(ops_db.engine, "before_cursor_execute", note)
    try:
        freed = tiny.purge(1)
    finally:
        sa.event.remove(ops_db.engine, "before_cursor_execute", note)
    assert freed.freed_runs == 1
    assert 1 < len(passes) <= 5
    with ops_db.read() as session:
        assert session.scalars(runs.where(RunSpace.state == G)).all() == [ordered[21]]
