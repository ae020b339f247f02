"""Two simulated hours, in minutes: the final state is the one that the final inputs alone lead to."""

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.gap.answer import gaps
from ccat_models.gap.reasons import ACTIONABLE, Reason
from ccat_models.gap.table import sub_group_gap
from ccat_models.pipeline.view import list_pipelines
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import RunStatus
from ccat_models.tables.products import DataProduct
from resources.ops_db import OpsDb
from resources.request.standing import run_round
from tests.support.worlds.manual import ManualWorld
from tests.support.worlds.two_hours import TICK_SECONDS, FromScratch, Life

TICKS = 2 * 3600 // TICK_SECONDS
HAPPENED = (
    "a scan arrives",
    "a scan arrives again, with other content",
    "a scan comes late",
    "a scan is withdrawn",
    "software is released",
    "the configuration changes",
    "a user cancels a backfill",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_two_hour_life(ops_db: OpsDb, tmp_path: Path) -> None:
    seed = 1 if ops_db.is_sqlite else 2  # another life on each database
    life = Life(ManualWorld.open(ops_db, tmp_path), seed)
    life.declare()
    circuits: Counter[str] = Counter()
    for _ in range(TICKS):
        life.tick()
        circuits.update(open_circuits(ops_db))
    assert not [event for event in HAPPENED if not life.seen[event]], life.seen
    assert circuits["circuit_open"], "no circuit has opened"
    life.settle(ticks=40)
    assert run_round(life.works.cluster) is None
    assert life.works.in_flight() == []
    assert products_are_those_of_the_end(ops_db) > 10
    assert executed_without_reason(ops_db) == []


def open_circuits(ops_db: OpsDb) -> list[str]:
    with ops_db.read() as session:
        query = sa.select(sub_group_gap.c.reason).where(sub_group_gap.c.reason == Reason.CIRCUIT_OPEN.value)
        return list(session.scalars(query.limit(1)))


def products_are_those_of_the_end(ops_db: OpsDb) -> int:
    """Compare each living sub-group's one product with what a computation from scratch gives; return how many."""
    compared = 0
    with ops_db.read() as session:
        scratch = FromScratch(session)
        for view in list_pipelines(session):
            found = {one.name: {gap.key: gap for gap in gaps(session, one, known=sub_group_gap)} for one in view.steps}
            current = {
                (name, gap.key): session.get_one(Run, gap.current_run_id)
                for name, of_step in found.items()
                for gap in of_step.values()
                if gap.current_run_id is not None and gap.alive
            }
            made_by = {cell: run.software_version.version for cell, run in current.items()}
            for one in view.steps:
                assert sorted(key for name, key in current if name == one.name) == scratch.keys(one.name)
                for key in scratch.keys(one.name):
                    assert found[one.name][key].reason is Reason.UP_TO_DATE
                    assert made_by[one.name, key] in scratch.acceptable(one.version_policy.value)
                    run = current[one.name, key]
                    product = session.scalars(sa.select(DataProduct.sha256).where(DataProduct.run_id == run.id)).one()
                    assert product == scratch.sha256(view, one.name, key, made_by), (one.name, key)
                    compared += 1
    return compared


def executed_without_reason(ops_db: OpsDb) -> list[RunId]:
    """Return the runs for which there was a completed one already, or whose reason is none."""
    actionable = {reason.value for reason in ACTIONABLE}
    wrong, done = [], set()
    with ops_db.read() as session:
        for run in session.scalars(sa.select(Run).order_by(Run.id)):
            made_for = (run.step_id, run.sub_group_id, run.fingerprint, run.config_id, run.software_version_id)
            if run.reason not in actionable or (made_for in done and run.reason != Reason.FORCED.value):
                wrong.append(run.id)
            if run.status is RunStatus.COMPLETED:
                done.add(made_for)
    return wrong
