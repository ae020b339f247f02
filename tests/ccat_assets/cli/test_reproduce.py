from collections.abc import Mapping
from typing import Any

import pytest

from ccat_models.tables.execution import Attempt, Purpose
from tests.support.hands.cli import Terminal
from tests.support.programs.tiny import pipeline_yaml, write_programs

pytestmark = pytest.mark.slow

ANSWERS = (
    ("runs",),
    ("plan", "letters"),
    ("products",),
    ("lineage", "letters/join/source=source-1/science/text.txt"),
    ("export", "pipeline:letters", "--format", "prov-json"),
)
LEASES = "observer_lease"  # which process moves jobs on, and until when


def untouched(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the rows that no reproduction may change: all but the attempts that reproduce, and the leases."""
    purpose = list(Attempt.__table__.columns.keys()).index("purpose")
    executing = [row for row in rows["attempt"] if row[purpose] is Purpose.EXECUTE]
    return {name: its for name, its in rows.items() if name != LEASES} | {"attempt": executing}


def test_products_are_reproduced_and_compared(terminal: Terminal) -> None:
    assert terminal.work("a").code == 0
    before, answers = terminal.dump(), [terminal.ok(*words).out for words in ANSWERS]
    said = terminal.ok("reproduce", "--pipeline", "letters").out
    assert "letters/join" in said
    assert said.count("2 of 2 identical") == 3
    assert said.endswith("3 runs: 3 identical\n")
    assert terminal.called().count("read executed_obs_unit=scan-0 1") == 2
    (run,) = terminal.json("reproduce", "letters/read/executed_obs_unit=scan-0/science/text.txt")["runs"]
    assert (run["outcome"], run["files"][1]["finding"], run["kept"]) == ("identical", "identical", None)
    (kept,) = terminal.json("reproduce", "1", "--keep")["runs"]
    assert kept["kept"].startswith(str(terminal.home / "workspace" / ".reproduce"))
    (terminal.archive / "scan-0" / "scan.dat").write_text("scan-0 b\n")
    refused = terminal.ccat("reproduce", "letters/read")
    assert refused.code == 1
    assert "package scan-0: scan.dat: checksum differs" in refused.out
    assert refused.out.endswith("1 runs: 1 cannot be reproduced\n")
    different = terminal.ccat("reproduce", "letters/read", "--no-verify-inputs")
    assert different.code == 1
    assert "science/text.txt: differs: 9 bytes sha256 " in different.out
    assert "run 1: kept in " in different.out
    after = terminal.dump()
    assert untouched(after) == untouched(before)
    assert len(after["attempt"]) == len(before["attempt"]) + 6
    assert [terminal.ok(*words).out for words in ANSWERS] == answers


def test_a_run_that_has_made_nothing_is_executed_again_as_well(terminal: Terminal) -> None:
    terminal.ok("ingest", terminal.observe("a"))
    program = write_programs(terminal.file.parent) / "reduce.py"
    program.write_text("pass\n")
    terminal.file.write_text(pipeline_yaml(terminal.calls))
    terminal.ok("pipeline", "apply", terminal.file)
    said = "pipeline letters: has no run that counts, so there is nothing to reproduce"
    assert terminal.refused("reproduce", "--pipeline", "letters") == said
    terminal.ok("run", "letters", "--step", "read", "--no-publish")
    assert terminal.json("products") == []
    assert terminal.ok("reproduce", "letters/read").out.endswith("1 runs: 1 identical\n")


def test_what_is_not_a_product_is_refused(worked: Terminal) -> None:
    assert "no product '999'" in worked.refused("reproduce", "999")
    assert "say which products: PRODUCT… or --pipeline, one of the two" in worked.refused("reproduce")
