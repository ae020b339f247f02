"""Names and reasons of decisions fit into their columns, on every database, or are refused and nothing is written."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.errors import InvalidDeclaration
from ccat_models.lineage.taint import lift, taint
from ccat_models.pipeline.view import load_pipeline
from ccat_models.product.copies import Selection
from ccat_models.product.pins import pin, unpin
from ccat_models.product.purge import Purpose, mark
from ccat_models.product.quality import waive
from ccat_models.product.removable import Picked
from ccat_models.run.cancel import request_cancel
from ccat_models.run.circuit import reset_circuit
from ccat_models.run.request import request_rerun
from ccat_models.tables import Base
from ccat_models.tables.base import RunId, SubGroupId
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, ensure
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

USER, WHY = "s" * 200, "w" * 1000
ALL = Selection(run_ids=(RunId(1),))
Decide = Callable[[Session, str, str, datetime], Any]
DECISIONS: dict[str, Decide] = {
    "taint": lambda s, by, why, now: taint(s, ["scan-0"], reason=why, by=by, now=now),
    "waive": lambda s, by, why, now: waive(s, RunId(1), "rms_k", by=by, reason=why, now=now),
    "pin": lambda s, by, why, now: pin(s, ALL, reason=why, by=by, now=now),
    "lift": lambda s, by, _, now: lift(s, ["scan-1"], by=by, now=now),
    "unpin": lambda s, by, _, now: unpin(s, Selection(run_ids=(RunId(2),)), by=by, now=now),
    "reset": lambda s, by, _, now: reset_circuit(s, "letters", "read", by=by, now=now),
    "cancel": lambda s, by, _, now: request_cancel(s, [RunId(3)], by=by, now=now),
    "retry": lambda s, by, _, now: request_rerun(
        s, load_pipeline(s, "letters").step("read"), [SubGroupId(1)], force=False, by=by, now=now
    ),
}
WITH_REASON = ["taint", "waive", "pin"]


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give three scans: one whose check fails, one that is tainted and pinned, and one on its way."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(3):
        works.observatory.scan(number)
    works.declare(step("read", quality=[{"metric": "rms_k", "maximum": 0.5, "blocking": True}]))
    works.request()
    works.complete(*works.in_flight()[:2], numbers={"rms_k": 0.7})
    with works.cluster.ops_db.request() as session:
        pin(session, Selection(run_ids=(RunId(2),)), reason="good", by="ada", now=works.cluster.clock())
        taint(session, ["scan-1"], reason="bad", by="ada", now=works.cluster.clock())
    return works


def rows(works: ManualWorld) -> Mapping[str, list[Any]]:
    with works.cluster.ops_db.read() as session:
        return {
            table.name: sorted(map(tuple, session.execute(sa.select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        }


def decide(works: ManualWorld, what: str, by: str, why: str) -> None:
    with works.cluster.ops_db.request() as session:
        DECISIONS[what](session, by, why, works.cluster.clock())


@pytest.mark.parametrize("what", DECISIONS)
def test_the_name_of_a_deciding_user_has_a_maximal_length(works: ManualWorld, what: str) -> None:
    before = rows(works)
    with pytest.raises(InvalidDeclaration, match=r"^by: has 201 characters, at most 200 are allowed: 'ss*'…$"):
        decide(works, what, f"{USER}s", WHY)
    assert rows(works) == before
    decide(works, what, USER, WHY)
    assert what == "reset" or rows(works) != before, "a circuit is closed already"


@pytest.mark.parametrize("what", WITH_REASON)
def test_a_reason_has_a_maximal_length(works: ManualWorld, what: str) -> None:
    before = rows(works)
    with pytest.raises(InvalidDeclaration, match=r"^reason: has 2000 characters, at most 1000 are allowed: 'ww*'…$"):
        decide(works, what, USER, "w" * 2000)
    assert rows(works) == before
    decide(works, what, USER, WHY)
    assert WHY in str(rows(works))


def test_runs_revisions_and_purges_are_refused_likewise(works: ManualWorld) -> None:
    works.observatory.scan(3)
    before = rows(works)
    with pytest.raises(InvalidDeclaration, match=r"^requested_by: has 201 characters, at most 200 are allowed"):
        ensure(works.cluster, "letters", "read", None, RequestOptions(f"{USER}s"))
    with pytest.raises(InvalidDeclaration, match=r"^applied_by: has 201 characters, at most 200 are allowed"):
        works.observatory.declare(works.document(step("read", [])), works.code, by=f"{USER}s")
    for by, why in ((f"{USER}s", WHY), (USER, f"{WHY}w")):
        with works.cluster.ops_db.write() as session, pytest.raises(InvalidDeclaration, match="at most"):
            mark(session, 1, Picked(1, 1), Purpose(1, by, why), works.cluster.clock())
    assert rows(works) == before
