"""A history of everything that an export has to contain."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ccat_models.lineage.record import ProvenanceRecord
from ccat_models.lineage.record_reading import read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.lineage.taint import lift, taint
from ccat_models.product.quality import waive
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, FailureClass
from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, ensure
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, step

SECOND = "executed_obs_unit=scan-1"
SECRET = "sesame-open"
"""Is wherever a careless export could find it."""


@dataclass(frozen=True)
class EventfulWorld:
    """Two scans, read and joined, with all that can go wrong on the way, in the order in which it happened."""

    works: ManualWorld
    failed_attempt: tuple[RunId, int]  # of a run that completed in its second attempt
    cancelled: RunId
    failed: RunId  # for good
    superseded: RunId  # of the map
    newest: RunId  # of the map

    def record(self, text: str) -> ProvenanceRecord:
        """Return the record of what a text names."""
        with self.works.cluster.ops_db.read() as session:
            return read_record(session, find_scope(session, text))


def eventful(ops_db: OpsDb, base: Path) -> EventfulWorld:
    """Let two scans be reduced, badly at first, and the map be made twice."""
    works = ManualWorld.open(ops_db, base)
    for number in range(2):
        works.observatory.scan(number)
    quality = [{"metric": "rms", "maximum": 1.0, "blocking": True}]
    retries = {**NO_RETRIES, "infrastructure": 1}
    works.declare(
        step("read", quality=quality, parameters={"depth": 3}, retries=retries), step("map", [], depends_on=["read"])
    )
    works.request()
    first, second = works.in_flight()
    works.fail(first, failure=FailureClass.INFRASTRUCTURE)
    works.complete(first, numbers={"rms": 0.5})
    works.cancel(second)
    failed = _again(works)
    works.fail(failed)
    works.complete(_again(works), numbers={"rms": 2.0})
    _waive(works, works.run_of("read", "scan-1"))
    works.run_all()
    superseded = works.run_of("map", "all")
    _taint(works, "scan-0")
    with works.cluster.ops_db.request() as session:
        lift(session, ["scan-0"], by="ben", now=works.cluster.clock())
    works.observatory.scan(0, content="better counts")
    works.run_all(numbers={"rms": 0.25})
    newest = works.run_of("map", "all")
    _taint(works, "scan-1")
    _leave_secrets(works, first)
    return EventfulWorld(works, (first, 1), second, failed, superseded, newest)


def _again(works: ManualWorld) -> RunId:
    ensure(works.cluster, "letters", "read", [SECOND], RequestOptions("cleo", retry=True))
    (again,) = works.in_flight()
    return again


def _waive(works: ManualWorld, run: RunId) -> None:
    with works.cluster.ops_db.request() as session:
        waive(session, run, "rms", by="ada", reason="a bright line", now=works.cluster.clock())


def _taint(works: ManualWorld, name: str) -> None:
    with works.cluster.ops_db.request() as session:
        taint(session, [name], reason=f"hot load was off in {name}", by="ada", now=works.cluster.clock())


def _leave_secrets(works: ManualWorld, run: RunId) -> None:
    """Put a secret and this machine's paths wherever a back end or a program might have left them."""
    evidence = {"node": "node-7", "environment": SECRET, "files": str(works.cluster.base)}
    message = f"no file {works.cluster.base}/x; https://ada:{SECRET}@host/path"
    with works.cluster.ops_db.write() as session:
        attempts = sa.update(Attempt).where(Attempt.run_id == run, Attempt.number == 1)
        session.execute(attempts.values(evidence=evidence, failure_message=message, command=["reduce", SECRET]))
