from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_assets.wiring.settings import load
from ccat_models.errors import InvalidDeclaration
from ccat_models.run.room import admit
from ccat_models.run.work import take_up
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.places import RawDataPackagePhysicalCopy as PackageCopy
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import SpaceState
from resources.ops_db import OpsDb
from resources.space.room import Usage
from resources.workspace.watermarks import Amount, Watermarks
from tests.support.faults.moments import watched
from tests.support.parts.ops_db import empty
from tests.support.worlds.letters import LettersWorld
from tests.support.worlds.manual import ManualWorld, step

pytestmark = pytest.mark.slow

MB = 1_000_000


def limited(tiny: LettersWorld, limit_bytes: int) -> list[int]:
    """Limit the location's room; return a list of the bytes there whenever the holder of the lease passes a border."""
    seen: list[int] = []

    def passing(border: str) -> None:
        if border != "lease taken":
            files = tiny.cluster.base.glob("letters/*/*/run-*/attempt-*/workspace/*/bulk.dat")
            seen.append(sum(path.stat().st_size for path in files))

    tiny.cluster = watched(replace(tiny.cluster, watermarks=Watermarks(limit_bytes)), passing)
    return seen


def test_more_is_made_than_there_is_room_for(embedded: LettersWorld) -> None:
    embedded.declare(*range(8), join="", bulk=f"read: {MB}")
    seen = limited(embedded, 3 * MB)
    outcome = embedded.run()
    assert outcome.failed == []
    assert MB <= max(seen) <= 3 * MB
    assert embedded.called() == Counter([f"{s} scan-{n}" for s in ("read", "clean") for n in range(8)] + ["join "])
    assert embedded.state("read").count(SpaceState.PURGED) >= 5
    assert embedded.text("join", "all").count("counts") == 8
    embedded.check_disk()


def test_a_run_that_nothing_makes_room_for_fails_and_says_so(embedded: LettersWorld) -> None:
    embedded.declare(0, 1, bulk=f"read: {MB}")
    limited(embedded, 3 * MB)
    embedded.run()
    embedded.declare(2, bulk=f"read: {MB}, clean: {4 * MB}")
    limited(embedded, MB // 2)
    failed = embedded.run().failed
    assert failed
    run = embedded.run_row(failed[0])
    assert run.failure_class is FailureClass.STAGING
    assert run.failure_message is not None
    assert run.failure_message.startswith("no room: ")
    assert f"of {MB // 2} are free" in run.failure_message


def test_raw_data_that_must_be_brought_takes_up_room(shared_ops_db: OpsDb, tmp_path: Path) -> None:
    """Each package once, whichever runs read it, and as long as it is not there."""
    empty(shared_ops_db)
    works = ManualWorld.open(shared_ops_db, tmp_path)
    for number in range(3):
        works.observatory.scan(number)
    resources = {"cpus": 1, "memory_gb": 1, "time_hours": 1, "disk_gb": 0.001}
    works.declare(*(step(name, resources=resources) for name in ("read", "see")))
    works.request()

    def admitted(free_bytes: int) -> tuple[int, int | None]:
        with shared_ops_db.read() as session:
            found = admit(session, works.cluster.location_id, free_bytes, 100, works.observatory.clock())
        return len(found.run_ids), None if found.first is None else found.first.needed_bytes

    assert admitted(6 * MB) == (6, None)
    with shared_ops_db.write() as session:
        session.execute(sa.update(RawDataPackage).values(size_bytes=10 * MB))
    assert admitted(6 * MB) == (6, None), "it is where it can be read"
    with shared_ops_db.write() as session:
        session.execute(sa.update(PackageCopy).values(path="scan.tar"))
    assert admitted(6 * MB) == (0, 11 * MB)
    assert admitted(36 * MB) == (6, None)
    assert admitted(35 * MB)[0] == 5
    with shared_ops_db.write() as session:
        first = min(works.in_flight())
        take_up(session, works.cluster.location_id, "local", 1, works.observatory.clock(), [first])
    assert admitted(36 * MB) == (5, None)
    assert admitted(11 * MB) == (0, 1 * MB), "what the run that was taken up reads is on its way"


@pytest.mark.parametrize(
    ("text", "whole", "found"),
    [("200 MB", 0, 200 * MB), ("1.5 GiB", 0, 3 * 2**29), ("90%", 1000, 900), ("0 B", 5, 0), ("100 %", 7, 7)],
)
def test_amounts(text: str, whole: int, found: int) -> None:
    assert Amount.parse(text).of(whole) == found


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"high": "70 %", "low": "90 %"}, "space_low must not be above space_high, got '90 %' and '70 %'"),
        ({"high": "1 GB", "low": "2 GB"}, "space_low must not be above space_high, got '2 GB' and '1 GB'"),
        (
            {"limit": "200 MB", "high": "500 GB"},
            "space_high must not be above space_limit, got '500 GB' and '200 MB'",
        ),
        (
            {"limit": "200 GB", "high": "50 %", "low": "101 GB"},
            "space_low must not be above space_high, got '101 GB' and '50 %'",
        ),
        ({"limit": "1 GB", "low": "2 GB"}, "space_low must not be above space_limit, got '2 GB' and '1 GB'"),
    ],
)
def test_marks_upside_down_are_refused(marks: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        load({f"CCAT_SPACE_{name.upper()}": text for name, text in marks.items()})
    assert str(refused.value) == f"settings: Value error, {said}"


@pytest.mark.parametrize(
    "marks",
    [
        {"high": "90 %", "low": "90 %"},
        {"high": "50 %", "low": "2 TB"},  # of what is not known before the disk is asked
        {"limit": "200 GB", "high": "50 %", "low": "100 GB"},
        {"limit": "200 GB", "high": "200 GB"},
    ],
)
def test_marks_in_order_are_taken(marks: dict[str, str]) -> None:
    settings = load({f"CCAT_SPACE_{name.upper()}": text for name, text in marks.items()}).settings
    assert (settings.space_high, settings.space_low) == (marks["high"], marks.get("low", ""))


def test_above_the_high_mark_and_below_a_low_one_that_is_higher_nothing_is_to_go() -> None:
    """A part and a size can be compared only once the size of the disk is known."""
    assert Usage(used_bytes=80, limit_bytes=100, high_bytes=70, low_bytes=90, is_limited=False).above_high == 0


@pytest.mark.parametrize("text", ["1001 PB", "99999999999999999999 TB", f"{'9' * 400} B"])
def test_more_than_any_disk_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidDeclaration, match="is more than any disk holds: at most 1000 PB"):
        Amount.parse(text)
