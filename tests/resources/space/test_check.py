import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.errors import Refused
from ccat_models.product.accounts import correct_accounts, wrong_accounts
from ccat_models.product.copies import select_named
from ccat_models.product.pins import pin, unpin
from ccat_models.tables.base import RunId
from ccat_models.tables.places import PhysicalCopyStatus, RawDataPackagePhysicalCopy
from ccat_models.tables.raw_data import RawDataPackage
from ccat_models.tables.space import RunSpace, SpaceState
from resources.request.ensure import RequestOptions, ensure
from resources.space.check import Discrepancy, SpaceCheck
from resources.space.judgement import Wrong
from tests.resources.space.test_retention import copy_elsewhere
from tests.support.worlds.letters import Died, LettersWorld

pytestmark = pytest.mark.slow

NOW = timedelta(0)
P, G = SpaceState.PRESENT, SpaceState.PURGED


ON_SQLITE = pytest.mark.parametrize("shared_ops_db", ["sqlite"], indirect=True)


def found(tiny: LettersWorld, *, repair: bool = False, settled_after: timedelta = NOW) -> list[Discrepancy]:
    return list(SpaceCheck(tiny.cluster, repair, settled_after).discrepancies())


def findings(tiny: LettersWorld, *, repair: bool = False) -> dict[tuple[Wrong, bool], list[str]]:
    """Return the names of what is wrong, by how and whether it was repaired."""
    names: dict[tuple[Wrong, bool], list[str]] = {}
    for one in found(tiny, repair=repair):
        names.setdefault((one.wrong, one.repaired), []).append(Path(one.path).name)
    return {key: sorted(of) for key, of in names.items()}


def output(tiny: LettersWorld, step: str, name: str = "text.txt") -> Path:
    """Return the file of a step's product on the first scan or source."""
    return min((tiny.cluster.base / "letters").glob(f"*/{step}/run-*/attempt-*/*/**/{name}"))


def write(path: Path, text: str = "stray") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@ON_SQLITE
def test_a_workspace_that_is_used_is_as_rows_say(tiny: LettersWorld) -> None:
    tiny.declare(0, 1, 2)
    tiny.run()
    assert found(tiny) == []
    tiny.purge()
    assert found(tiny) == []
    tiny.observatory.scan(4)
    tiny.run()
    assert found(tiny) == [], "regenerated products are where rows say"


@ON_SQLITE
def test_orphans_are_removed_and_files_of_runs_stay(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    base, kept = tiny.cluster.base, set(tiny.cluster.base.rglob("*"))
    beside = output(tiny, "read").with_name("beside.txt")
    strays = [beside, base / ".staged" / "gone-1" / "raw.dat"]
    strays.append(base / "letters" / "x=y" / "read" / "run-99" / "attempt-1" / "output" / "lost.txt")
    for stray in strays:
        write(stray)
    outside = write(base.parent / "outside" / "precious.txt")
    (beside.parent / "link").symlink_to(outside.parent)
    mine = [write(base / ".code" / "x" / "program.py"), write(base / ".staged" / ".work" / "lock")]
    mine.append(write(beside.parents[1].parent / "logs" / "more.log"))
    names = sorted(stray.name for stray in strays)
    assert findings(tiny) == {(Wrong.ORPHAN, False): names}
    assert found(tiny, repair=True, settled_after=timedelta(hours=1)) == [], "what is young is left alone"
    assert findings(tiny, repair=True) == {(Wrong.ORPHAN, True): names}
    assert [stray for stray in strays if stray.exists()] == []
    assert [path for path in (outside, *mine, *kept) if not path.exists()] == []
    assert found(tiny) == []


@ON_SQLITE
def test_files_where_no_run_leaves_any_are_foreign_and_left_alone(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    names = (
        "top.txt",
        "thesis/chapter1.tex",
        "letters/notes.txt",
        "letters/x=y/read/run-99/why.txt",
        "letters/x=y/read/run-99/attempt-1",
        "theirs/x=y/read/run-1/attempt-1/output/data.txt",
    )
    foreign = [write(tiny.cluster.base / name) for name in names]
    assert findings(tiny, repair=True) == {(Wrong.FOREIGN, False): sorted(path.name for path in foreign)}
    assert [path for path in foreign if not path.exists()] == []
    assert not any(one.is_open for one in found(tiny))


@ON_SQLITE
def test_files_of_failed_attempts_are_listed_separately_and_kept(tiny: LettersWorld) -> None:
    tiny.observatory.scan(0, "broken")
    tiny.declare()
    assert len(tiny.run().failed) == 1
    (directory,) = (tiny.cluster.base / "letters").glob("*/read/run-*/attempt-1/workspace/read")
    partial = write(directory / "partial.dat")
    assert findings(tiny, repair=True) == {(Wrong.FAILED, False): ["partial.dat"]}
    assert partial.exists()
    assert not found(tiny)[0].is_open


@ON_SQLITE
def test_files_of_purged_runs_are_removed_at_last(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    path = output(tiny, "read")
    tiny.purge()
    write(path)
    assert found(tiny, settled_after=timedelta(hours=1)) == []
    assert findings(tiny) == {(Wrong.LEFT_OVER, False): ["text.txt"]}
    assert findings(tiny, repair=True) == {(Wrong.LEFT_OVER, True): ["text.txt"]}
    assert not path.exists()


@ON_SQLITE
def test_a_killed_purge_is_detected_and_finished(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    try:
        tiny.dying_at("purge marked").purge()
    except Died:
        assert findings(tiny) == {(Wrong.LEFT_OVER, False): ["text.txt", "text.txt"]}
    assert found(tiny, repair=True) == []
    assert tiny.state("read") == tiny.state("clean") == [G]
    tiny.check_disk()


def test_missing_products_are_purged_and_regenerated_when_needed(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    output(tiny, "read").unlink()
    output(tiny, "clean").write_text("other")
    wrong = {(Wrong.MISSING, False): ["text.txt"], (Wrong.DIFFERENT, False): ["text.txt"]}
    assert findings(tiny) == wrong
    assert tiny.state("read") == [P]
    assert findings(tiny, repair=True) == {(kind, True): names for (kind, _), names in wrong.items()}
    assert tiny.state("read") == tiny.state("clean") == [G]
    tiny.check_disk()
    assert found(tiny) == []
    tiny.called()
    tiny.observatory.scan(2)
    assert tiny.run().failed == []
    assert tiny.called()["clean scan-0"] == tiny.called()["read scan-0"] + 1 == 1


@ON_SQLITE
def test_only_products_that_cannot_be_regenerated_are_given_up(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    output(tiny, "clean", "numbers.json").unlink()
    output(tiny, "read").unlink()
    output(tiny, "clean").write_text("other")
    with tiny.cluster.ops_db.write() as session:
        pin(
            session,
            select_named(session, ["letters/read", "letters/clean"]),
            reason="x",
            by="x",
            now=tiny.cluster.clock(),
        )
    repaired = findings(tiny, repair=True)
    assert repaired[Wrong.MISSING, True] == ["numbers.json", "text.txt"]
    assert repaired[Wrong.DIFFERENT, False] == ["text.txt"]
    assert repaired[Wrong.ACCOUNT, True] == ["", ""]
    assert output(tiny, "clean").read_text() == "other"
    assert tiny.state("read") == tiny.state("clean") == [P]
    assert findings(tiny, repair=True) == {(Wrong.DIFFERENT, False): ["text.txt"]}


def test_what_a_purge_would_keep_is_not_removed_for_a_file_that_is_missing(tiny: LettersWorld) -> None:
    tiny.declare(0, 2, bulk="clean: 100000, join: 100000", end="    retention: {keep: always}\n")
    tiny.run()
    ensure(tiny.cluster, "letters", "join", None, RequestOptions("test", force=True))
    for step in ("clean", "join"):
        output(tiny, step).unlink()
    (_, repaired), *accounts = findings(tiny, repair=True).items()
    assert (repaired, len(accounts)) == (["text.txt", "text.txt"], 1)
    assert output(tiny, "clean", "bulk.dat").exists(), "a run in flight reads it"
    assert output(tiny, "join", "bulk.dat").exists(), "it is kept always"
    assert tiny.state("clean") == [P, P]
    assert tiny.state("join") == [P]


@ON_SQLITE
def test_nothing_is_given_up_where_the_disk_is_not_mounted(tiny: LettersWorld) -> None:
    tiny.declare(0, 2, 4)
    tiny.run()
    base = tiny.cluster.base
    away = base.rename(base.with_name("away"))
    base.mkdir()
    with pytest.raises(Refused, match=f"7 of the 7 runs with files below {base} have missing or different files"):
        found(tiny, repair=True)
    assert len(findings(tiny)[Wrong.MISSING, False]) == 14, "a check alone says what it sees"
    base.rmdir()
    away.rename(base)
    assert found(tiny, repair=True) == []
    shutil.rmtree(base / "letters")
    check = SpaceCheck(tiny.cluster, repair=True, settled_after=NOW, even_if_most_is_missing=True)
    assert {one.repaired for one in check.discrepancies()} == {True}
    assert tiny.state("read") == [G, G, G]


@ON_SQLITE
def test_unreadable_files_are_reported_and_change_nothing(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    step = output(tiny, "read").parents[4]
    away = step.rename(tiny.cluster.base.parent / "away")
    step.symlink_to(away)
    wrong = {(Wrong.UNREADABLE, False): ["numbers.json", "text.txt"]}
    assert findings(tiny) == findings(tiny, repair=True) == wrong
    step.unlink()
    away.rename(step)
    assert found(tiny) == []
    assert tiny.state("read") == [P]


def test_products_given_up_while_pinned_are_regenerated_afterwards(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    missing, back = output(tiny, "clean"), output(tiny, "read")
    content = back.read_text()
    steps = ["letters/read", "letters/clean"]
    with tiny.cluster.ops_db.write() as session:
        pin(session, select_named(session, steps), reason="x", by="x", now=tiny.cluster.clock())
    missing.unlink()
    back.unlink()
    findings(tiny, repair=True)
    assert found(tiny) == []
    write(back, content)
    assert findings(tiny, repair=True) == {(Wrong.ACCOUNT, True): [""]}
    with tiny.cluster.ops_db.write() as session:
        unpin(session, select_named(session, steps), by="x", now=tiny.cluster.clock())
    assert findings(tiny) == {(Wrong.MISSING, False): ["text.txt"]}
    assert findings(tiny, repair=True)[Wrong.MISSING, True] == ["text.txt"]
    assert (tiny.state("read"), tiny.state("clean")) == ([P], [G])
    tiny.check_disk()
    assert found(tiny) == []
    tiny.called()
    tiny.observatory.scan(2)
    assert tiny.run().failed == []
    assert tiny.called()["clean scan-0"] == 1


def test_accounts_are_set_right(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    with tiny.cluster.ops_db.write() as session:
        first, second, third = session.scalars(sa.select(RunSpace).order_by(RunSpace.run_id))
        sizes = first.size_bytes, first.removable_bytes
        first.size_bytes, first.removable_bytes, third.made_bytes = 1, 2, 3
        session.delete(second)
    wrong = found(tiny)
    runs = [first.run_id, second.run_id, third.run_id]
    assert [(one.wrong, one.run_id) for one in wrong] == [(Wrong.ACCOUNT, run_id) for run_id in runs]
    assert wrong[0].detail == f"1 bytes in its account, {sizes[0]} by its products"
    assert [one.repaired for one in found(tiny, repair=True)] == [True, True, True]
    assert found(tiny) == []
    with tiny.cluster.ops_db.read() as session:
        again = session.get_one(RunSpace, first.run_id)
        assert (again.size_bytes, again.removable_bytes) == sizes


def test_accounts_of_another_location_are_left_alone(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    copy_elsewhere(tiny)
    tiny.purge()
    before = accounts(tiny)
    with tiny.cluster.ops_db.write() as session:
        assert wrong_accounts(session, 9) == {}
        correct_accounts(session, 9, before, tiny.cluster.clock())
    assert accounts(tiny) == before
    assert found(tiny) == []


def accounts(tiny: LettersWorld) -> dict[RunId, int]:
    with tiny.cluster.ops_db.read() as session:
        return dict(session.execute(sa.select(RunSpace.run_id, RunSpace.size_bytes)).tuples().all())


def test_staged_raw_data_is_looked_for(tiny: LettersWorld) -> None:
    tiny.declare(0, 1, 2)
    with tiny.cluster.ops_db.write() as session:
        packages = session.scalars(sa.select(RawDataPackage.id))
        for package, name, status in zip(
            packages, ("here", "away", "left"), ("STAGED", "STAGED", "DELETED"), strict=True
        ):
            copy = RawDataPackagePhysicalCopy(
                kind="raw_data_package",
                data_location_id=tiny.cluster.location_id,
                raw_data_package_id=package,
                path=f".staged/{name}",
                status=PhysicalCopyStatus(status),
                created_at=tiny.cluster.clock(),
            )
            session.add(copy)
    here, left = (write(tiny.cluster.base / ".staged" / name / "deep" / "raw.dat") for name in ("here", "left"))
    wrong = {(Wrong.LEFT_OVER, False): ["raw.dat"], (Wrong.MISSING, False): ["away"]}
    assert findings(tiny) == wrong
    assert findings(tiny, repair=True) == {(kind, True): names for (kind, _), names in wrong.items()}
    assert (here.exists(), left.exists(), left.parents[1].exists()) == (True, False, False)
    assert found(tiny) == []
