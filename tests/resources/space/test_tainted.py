"""Products regenerated from tainted data are tainted: no result and no input, until the taint is lifted."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.gap.evaluate import EvaluationOptions, evaluate
from ccat_models.lineage.decisions import Decisions, runs_decided
from ccat_models.lineage.taint import lift, taint, taints_of
from ccat_models.pipeline.view import load_pipeline
from ccat_models.run.request import create_runs
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputProduct
from ccat_models.tables.space import RunSpace, SpaceState
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions
from resources.request.regeneration import request_again
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

pytestmark = pytest.mark.slow

READ, CLEAN, JOIN = RunId(1), RunId(2), RunId(3)
AGAIN = (RunId(4), RunId(5))  # the runs that regenerate the products of the first two
SAME, OTHER = {"text.txt": "text"}, {"text.txt": "other text"}
EITHER = pytest.mark.parametrize("outputs", [SAME, OTHER], ids=["the same", "something else"])


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give read → clean → join of two scans at a time, everything made, and all but the last step's purged."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(2):
        works.observatory.scan(number)
    works.declare(
        step("read", ["obs_mode"]),
        step("clean", ["obs_mode"], depends_on=["read"]),
        step("join", ["obs_mode"], depends_on=["clean"], when="any"),
    )
    works.request()
    while works.in_flight():
        works.complete(outputs=SAME)
        works.request()
    assert works.purge() == 2
    return works


def mark(works: ManualWorld) -> None:
    with works.cluster.ops_db.request() as session:
        taint(session, ["scan-0"], reason="hot load was off", by="ada", now=works.cluster.clock())


def unmark(works: ManualWorld) -> None:
    with works.cluster.ops_db.request() as session:
        lift(session, ["scan-0"], by="ben", now=works.cluster.clock())


def tainted(works: ManualWorld) -> set[RunId]:
    with works.cluster.ops_db.read() as session:
        runs = session.scalars(sa.select(Run.id)).all()
        return {run for run, taints in taints_of(session, runs).items() if any(not t.lifted_at for t in taints)}


def states(works: ManualWorld) -> dict[RunId, SpaceState]:
    with works.cluster.ops_db.read() as session:
        return dict(session.execute(sa.select(RunSpace.run_id, RunSpace.state)).tuples().all())


def readers_of_tainted(works: ManualWorld, *, after: RunId) -> list[RunId]:
    """Return the runs after one that read tainted data."""
    query = sa.select(RunInputProduct.run_id).where(RunInputProduct.run_id > after)
    with works.cluster.ops_db.read() as session:
        return list(session.scalars(query.where(RunInputProduct.producer_run_id.in_(tainted(works)))))


@EITHER
def test_products_regenerated_from_tainted_data_are_tainted(works: ManualWorld, outputs: Mapping[str, str]) -> None:
    mark(works)
    works.regenerate_and_complete(CLEAN, outputs=outputs)
    assert states(works)[CLEAN] is (SpaceState.PRESENT if outputs is SAME else SpaceState.REPLACED)
    assert tainted(works) == {READ, CLEAN, JOIN, *AGAIN}
    with works.cluster.ops_db.read() as session:
        decided = runs_decided(session, Decisions(), after=RunId(0), limit=9)
    assert decided == ([READ, CLEAN, JOIN] if outputs is SAME else [JOIN, *AGAIN]), "those that count"
    assert set(works.reasons("join").values()) == {"waiting_for_upstream"}
    assert not works.ask("join", force=True).created, "there is nothing that it may read"
    works.run_all()
    assert readers_of_tainted(works, after=AGAIN[1]) == []
    assert set(works.reasons("join").values()) == {"up_to_date"}


@EITHER
def test_a_taint_during_regeneration_marks_its_products_too(works: ManualWorld, outputs: Mapping[str, str]) -> None:
    request_again(works.cluster, "letters", [CLEAN], RequestOptions("ada"))
    mark(works)
    works.complete(outputs=outputs)
    works.regenerate_and_complete(CLEAN, outputs=outputs)
    assert tainted(works) == {READ, CLEAN, JOIN, *AGAIN}
    assert set(works.reasons("join").values()) == {"waiting_for_upstream"}


@EITHER
def test_a_lifted_taint_restores_regenerated_products(works: ManualWorld, outputs: Mapping[str, str]) -> None:
    mark(works)
    works.regenerate_and_complete(CLEAN, outputs=outputs)
    unmark(works)
    assert tainted(works) == set()
    assert {reason for name in ("read", "clean", "join") for reason in works.reasons(name).values()} == {"up_to_date"}
    (gap,) = works.gaps("clean").values()
    assert gap.current_run_id == (CLEAN if outputs is SAME else AGAIN[1])


def test_tainted_products_are_regenerated_only_on_explicit_request(works: ManualWorld) -> None:
    mark(works)
    works.run_all(force=True, retry=True)
    with works.cluster.ops_db.read() as session:
        assert not session.scalars(sa.select(Run.id).where(Run.regenerates_run_id.is_not(None))).all()


def test_a_taint_between_the_look_at_gaps_and_the_request_marks_the_run(works: ManualWorld) -> None:
    works.observatory.scan(1, content="better counts")
    works.reasons("read")  # brings the memberships up to date
    cluster = works.cluster
    with cluster.ops_db.request() as session:
        view, now = load_pipeline(session, "letters"), cluster.clock()
        evaluate(session, view, EvaluationOptions(now))
        taint(session, ["scan-0"], reason="hot load was off", by="ada", now=now)
        (new,) = create_runs(session, view, view.step("read"), backend="local", requested_by="test", now=now)
    assert new in tainted(works)
