"""`ccat run --detach` of a whole pipeline leaves a round behind, which the daemon's sensors finish."""

import sqlalchemy as sa

from ccat_models.tables.gaps import PipelineRound
from resources.ops_db import OpsDb
from tests.support.hands.cli import Terminal


def rounds(terminal: Terminal) -> list[tuple[str | None, bool]]:
    ops_db = OpsDb(f"sqlite:///{terminal.home / 'ops.sqlite'}")
    with ops_db.read() as session:
        found = session.execute(sa.select(PipelineRound.begun_by, PipelineRound.ended_at)).tuples()
        return [(by, ended is None) for by, ended in found]


def test_only_a_detached_run_of_a_whole_pipeline_begins_a_round(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a", "b"))
    terminal.declare()
    assert len(terminal.json("run", "letters", "--step", "read", "--detach")["created"]["read"]) == 2
    terminal.ok("run", "letters", "--step", "read", "--no-publish")
    assert rounds(terminal) == []
    assert len(terminal.json("run", "letters", "--detach")["created"]["clean"]) == 2
    assert rounds(terminal) == [("ada", True)]
