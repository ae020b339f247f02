import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.product.copies import Selection, record_verified, select_named
from ccat_models.tables.base import ProductId, RunId
from ccat_models.tables.places import DiskDataLocation, PhysicalCopy, PhysicalCopyStatus
from ccat_models.tables.raw_data import RawDataFile, RawDataPackage
from resources.node.store import checksums, command, limits
from resources.node.store.inside import Bad
from resources.ops_db import OpsDb
from resources.product import verification
from resources.product.verification import FINE, Comparer, Finding, Registered, Verification
from resources.request.ensure import RequestOptions
from resources.request.regeneration import request_again
from resources.shell.local import LocalShell
from resources.shell.remote_program import RemoteProgram
from resources.workspace.store import Actual, AttemptStore, Expected
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step

EVERYTHING = Selection(pipeline="letters")
TEXT = "science/text.txt"


@pytest.fixture
def works(shared_ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give an observatory in which nothing has been observed."""
    empty(shared_ops_db)
    return ManualWorld.open(shared_ops_db, tmp_path)


def complete(works: ManualWorld, scans: int) -> list[Path]:
    """Let a run of each scan complete, and one of all of them; return the files of the former's products."""
    for number in range(scans):
        works.observatory.scan(number)
    works.declare(step("read"), step("join", [], depends_on=["read"]))
    works.run_all()
    with works.cluster.ops_db.read() as session:
        paths = session.scalars(
            sa.select(PhysicalCopy.path)
            .where(PhysicalCopy.data_product_id.is_not(None))
            .order_by(PhysicalCopy.data_product_id)
        ).all()
    files = [works.cluster.base / path for path in paths]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("text")
    return files[:-1]


def verified_at(works: ManualWorld, column: sa.orm.InstrumentedAttribute[int | None]) -> dict[int, datetime | None]:
    with works.cluster.ops_db.read() as session:
        query = sa.select(column, PhysicalCopy.checksum_verified_at).where(column.is_not(None))
        return {owner: at for owner, at in session.execute(query).tuples() if owner is not None}


def set_copy(works: ManualWorld, product: int, **values: object) -> None:
    with works.cluster.ops_db.write() as session:
        session.execute(sa.update(PhysicalCopy).where(PhysicalCopy.data_product_id == product).values(**values))


def test_every_finding_and_only_what_is_good_is_noted(works: ManualWorld, tmp_path: Path) -> None:
    files = complete(works, 7)
    files[1].unlink()
    files[2].write_text("longer text")
    files[3].write_text("tax.")
    (tmp_path / "elsewhere").write_text("text")
    files[4].unlink()
    files[4].symlink_to(tmp_path / "elsewhere")
    set_copy(works, 6, status=PhysicalCopyStatus.DELETED)
    with works.cluster.ops_db.write() as session:
        far = {"location_type": "processing", "host": "far", "path": "/far"}
        session.add(DiskDataLocation(id=9, site_id=1, name="far", **far))
    set_copy(works, 7, data_location_id=9)
    before = verified_at(works, PhysicalCopy.data_product_id)
    works.observatory.clock.pass_seconds(60)
    found = {one.product_id: one for one in Verification(works.cluster).products(EVERYTHING)}
    assert {product: one.finding.value for product, one in found.items()} == {
        1: "ok",
        2: "missing",
        3: "size differs",
        4: "checksum differs",
        5: "missing",
        6: "purged",
        7: "no copy readable from here",
        8: "ok",
    }
    assert found[ProductId(3)].detail == "11 bytes, registered 4"
    registered = hashlib.sha256(b"text").hexdigest()
    assert found[ProductId(4)].detail == f"sha256 {hashlib.sha256(b'tax.').hexdigest()}, registered {registered}"
    again = "ccat run letters --step read --sub-group executed_obs_unit=scan-3 --force"
    assert found[ProductId(4)].remedy == f"restore {files[3]}, or make it again: {again}"
    assert [found[ProductId(product)].remedy for product in (1, 6, 7)] == ["", "", ""]
    now, bad = works.cluster.clock(), dict.fromkeys((2, 3, 4, 5))
    assert verified_at(works, PhysicalCopy.data_product_id) == before | bad | {1: now, 8: now}
    works.observatory.clock.pass_seconds(60)
    with works.cluster.ops_db.write() as session:
        query = sa.select(PhysicalCopy.id).where(PhysicalCopy.data_product_id.in_([1, 6]))
        record_verified(session, session.scalars(query).all(), works.cluster.clock())
    assert verified_at(works, PhysicalCopy.data_product_id) == before | bad | {1: works.cluster.clock(), 8: now}


def test_purged_files_are_distinguished_from_lost_or_replaced_ones(works: ManualWorld) -> None:
    for number in range(3):
        works.observatory.scan(number)
    works.declare(step("read"), step("join", [], depends_on=["read"]))
    works.request()
    works.complete(outputs={"text.txt": "text"})
    works.run_all()
    assert works.purge() == 3
    request_again(works.cluster, "letters", [RunId(1), RunId(2)], RequestOptions("test"))
    first, second = works.in_flight()
    works.fail(first)
    works.complete(second, outputs={"text.txt": "other"})
    found = {one.product_id: one for one in Verification(works.cluster).products(EVERYTHING)}
    day = f"{works.cluster.clock():%Y-%m-%d}"
    again = "ccat run letters --step read --sub-group executed_obs_unit=scan-0 --force"
    assert {
        product: (one.finding.value, one.detail, one.remedy) for product, one in found.items() if product in (1, 2, 3)
    } == {
        1: ("lost", f"purged, and cannot be regenerated since {day}", f"make another one: {again}"),
        2: ("replaced", f"purged, and regenerated differently by run {second} on {day}", ""),
        3: ("purged", f"removed to make room on {day}", "make it again: ccat regenerate 3"),
    }
    assert [finding.value for finding in FINE] == ["ok", "purged", "replaced"], "what is lost is not fine"


def test_pages_and_selections(works: ManualWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(works, 5)
    monkeypatch.setattr(verification, "_PAGE", 2)
    monkeypatch.setattr(verification, "_ASKED_AT_A_TIME", 1)
    on_progress: list[int] = []
    checking = Verification(works.cluster, lambda files, size: on_progress.append(files * size))

    def products(selection: Selection) -> list[int | None]:
        return [one.product_id for one in checking.products(selection)]

    with works.cluster.ops_db.read() as session:
        named = select_named(session, ["2", f"letters/read/executed_obs_unit=scan-0/{TEXT}", "letters/join"])
    assert products(EVERYTHING) == products(Selection()) == [1, 2, 3, 4, 5, 6]
    assert sum(on_progress) == 2 * checking.extent(EVERYTHING, raw=False)[1] == 2 * 6 * 4
    assert products(Selection(pipeline="letters", step="join")) == [6]
    assert products(Selection(pipeline="other")) == []
    assert products(named) == [1, 2, 6]


def test_raw_packages_are_found_however_far_back_and_good_if_all_their_files_are(
    works: ManualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(works, 3)
    monkeypatch.setattr(verification, "_PAGE", 1)
    monkeypatch.setattr(verification, "_PACKAGES", 2)
    (works.observatory.base / "archive" / "scan-1" / "scan.dat").write_text("broken")
    with works.cluster.ops_db.write() as session:
        checksum = session.scalars(sa.select(RawDataPackage.checksum).where(RawDataPackage.id == 3)).one()
        more = {"package_checksum": checksum, "path": "more.dat", "size_bytes": 1, "sha256": "0" * 64}
        session.add(RawDataFile(id=uuid.uuid4(), raw_data_package_id=3, instrument_module_id=1, **more))
    checking = Verification(works.cluster)
    found = list(checking.raw(Selection(pipeline="letters", step="join")))
    files = [("scan-0", "scan.dat"), ("scan-1", "scan.dat"), ("scan-2", "more.dat"), ("scan-2", "scan.dat")]
    assert [(one.owner, one.path) for one in found] == files
    assert [one.finding.value for one in found] == ["ok", "size differs", "missing", "ok"]
    assert checking.extent(Selection(step="join", pipeline="letters"), raw=True)[0] == 5
    now = works.cluster.clock()
    assert verified_at(works, PhysicalCopy.raw_data_package_id) == {1: now, 2: None, 3: None}
    assert [one.owner for one in checking.raw(Selection(product_ids=(ProductId(2),)))] == ["scan-1"]


def test_replaced_raw_files_are_reported_and_others_not_looked_at(works: ManualWorld) -> None:
    complete(works, 2)
    scan = works.observatory.base / "archive" / "scan-0" / "scan.dat"
    read, size_bytes = scan.read_bytes(), scan.stat().st_size
    works.observatory.scan(0, "more counts")
    on_progress: list[tuple[int, int]] = []
    checking = Verification(works.cluster, lambda files, size: on_progress.append((files, size)))
    (replaced,) = checking.raw(Selection(product_ids=(ProductId(1),)))
    assert (replaced.owner, replaced.path, replaced.finding) == ("scan-0", "scan.dat", Finding.REPLACED)
    assert replaced.detail.startswith("package checksum ")
    assert "`ccat impact package:scan-0` shows" in replaced.remedy
    assert on_progress == [(1, size_bytes)]
    works.request()
    works.complete(*works.in_flight())
    both = list(checking.raw(Selection(pipeline="letters", step="read")))
    findings = sorted((one.owner, one.finding.value) for one in both)
    assert findings == [("scan-0", "ok"), ("scan-0", "replaced"), ("scan-1", "ok")]
    assert checking.extent(Selection(pipeline="letters", step="read"), raw=True)[0] == 3 + 3
    works.observatory.scan(0)
    assert scan.read_bytes() == read
    assert [one.finding for one in checking.raw(Selection(product_ids=(ProductId(1),)))] == [Finding.OK]


def registered(root: Path, contents: Mapping[str, bytes]) -> list[Registered]:
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [Registered(root, name, len(text), hashlib.sha256(text).hexdigest()) for name, text in contents.items()]


@pytest.mark.parametrize("far", [False, True])
def test_large_files_are_read_between_the_calls(tmp_path: Path, *, far: bool) -> None:
    base = tmp_path / "base"
    store = AttemptStore.over(RemoteProgram(LocalShell(), base, "python3"), base) if far else AttemptStore.here(base)
    files = registered(tmp_path, {"large": b"x" * 3_000_000, "broken": b"y" * 3_000_000, "small": b"z"})
    (tmp_path / "broken").write_bytes(b"Y" * 3_000_000)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        time.sleep(0.02)

    found = Comparer(store, sleep=rest, at_once_bytes=10).compare(files)
    assert [one.finding for one in found] == [Finding.OK, Finding.CHECKSUM_DIFFERS, Finding.OK]
    assert len(rests) >= 2
    assert list((base / ".checksums").iterdir()) == []
    assert Comparer(store, sleep=rest).compare(files) == found


def test_a_large_file_is_read_for_as_long_as_its_checksum_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "NOTE_EVERY_SECONDS", -1.0)
    (file,) = registered(tmp_path, {"large": b"x" * 3_000_000})
    note, asked = tmp_path / "note", tmp_path / "note.asked"
    request = {"do": "hash", "root": str(tmp_path), "path": "large", "note": str(note)}
    asked.touch()
    assert command.answer(request) == {"sha256": file.sha256}
    assert note.exists()
    os.utime(asked, (0, 0))
    command.answer(request)
    assert not note.exists()
    assert not asked.exists()


def test_files_without_time_left_for_them_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = registered(tmp_path, {name: name.encode() for name in "abc"})
    monkeypatch.setattr(limits, "LONGEST_LOOK_SECONDS", -1.0)
    store = AttemptStore.here(tmp_path)
    assert len(store.checksum([Expected(tmp_path, name, 1) for name in "abc"], "me")) == 1
    assert store.checksum([Expected(tmp_path, "a", 2)], "me") == [Actual(1)]  # not read at all
    assert [one.finding for one in Comparer(store).compare(files)] == [Finding.OK] * 3


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    process = Registered(Path("/proc/self"), "mem", 0, "0" * 64)  # reading its first byte is refused
    (found,) = Comparer(AttemptStore.here(tmp_path)).compare([process])
    assert found.finding is Finding.UNREADABLE
    assert found.detail.startswith("/proc/self/mem: ")


def test_removing_stays_below_the_root_and_follows_no_link(tmp_path: Path) -> None:
    store, root = AttemptStore.here(tmp_path), tmp_path / "root"
    (tmp_path / "kept").mkdir()
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "link").symlink_to(tmp_path / "kept")
    (root / "link").symlink_to(tmp_path / "kept")
    assert store.remove(root, {"a", "never there"}) == {"a", "never there"}
    assert store.remove(root, {"link"}) == set()
    with pytest.raises(Bad, match="is not below"):
        store.remove(root, {"../kept"})
    assert (tmp_path / "kept").is_dir()
