"""Runs whose raw data is staged from an archive, and staged copies that are no longer needed."""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.raw.staging import archived_copies, request_jobs
from ccat_models.run.staged_copies import unneeded_copies
from ccat_models.tables.base import PackageId, StepId, SubGroupId
from ccat_models.tables.gaps import SubGroupGap
from ccat_models.tables.places import DiskDataLocation, LocationType, PhysicalCopyStatus
from ccat_models.tables.places import RawDataPackagePhysicalCopy as Copy
from ccat_models.tables.staging import Status
from resources.ops_db import OpsDb
from resources.raw.let_go import let_go
from resources.shell.local import LocalShell
from tests.support.faults.moments import Hook
from tests.support.hands.attempts import eventually
from tests.support.parts.archives import tar_of
from tests.support.worlds.manual import NO_RETRIES, ManualWorld, step
from tests.support.worlds.on_slurm import RealWorld
from tests.support.worlds.staging import ARCHIVE, COLOGNE, LOCAL, STAGED, Held, StagingWorld

pytestmark = pytest.mark.slow

PRESENT = PhysicalCopyStatus.PRESENT
NOW = timedelta(0)


class Killed(Exception):
    """Raised where the process is to end."""


@pytest.fixture
def lab(sqlite_ops_db: OpsDb, tmp_path: Path) -> StagingWorld:
    return StagingWorld(RealWorld(ManualWorld.open(sqlite_ops_db, tmp_path)), LocalShell())


@pytest.fixture
def each_lab(ops_db: OpsDb, tmp_path: Path) -> StagingWorld:
    return StagingWorld(RealWorld(ManualWorld.open(ops_db, tmp_path)), LocalShell())


def observe(lab: StagingWorld, *contents: str, **fields: Any) -> list[Path]:
    """Pack scans into the archive alone, and request their runs."""
    lab.lab.declare(*contents, **fields)
    tars = [lab.pack(number) for number, _ in enumerate(contents)]
    lab.lab.works.request()
    return tars


def killed_at(border: str) -> Hook:
    def passing(here: str) -> None:
        if here == border:
            raise Killed(here)

    return passing


def test_a_package_is_staged_once_for_all_runs_that_read_it(each_lab: StagingWorld) -> None:
    lab = each_lab
    lab.lab.declare("a", "exit 65")
    works = lab.lab.works
    parameters: dict[str, Any] = {"parameters": {"calls": str(lab.lab.calls)}}
    works.declare(step("read", **parameters), step("again", **parameters))
    sizes = [lab.pack(number).stat().st_size for number in range(2)]
    works.request()
    assert lab.lab.until_ended() == {"COMPLETED": 2, "FAILED": 2}
    assert list(lab.products()) == ["scan-0 a\n"] * 2
    jobs = lab.jobs()
    assert [(job.status, job.bytes_transferred, job.source_location_id) for job in jobs] == [
        (Status.COMPLETED, size, ARCHIVE) for size in sizes
    ]
    assert all(
        job.finished_at >= job.started_at >= job.requested_at for job in jobs if job.finished_at and job.started_at
    )
    for number in range(2):
        (name,) = [name for name in lab.staged() if name.startswith(f"scan-{number}-")]
        held = [
            Held(LOCAL, f".staged/{name}", STAGED, verified=True),
            Held(ARCHIVE, f"scan-{number}.tar", PRESENT, verified=False),
        ]
        assert lab.copies(number) == held
    works.ask("read", "scan-0", force=True)
    assert lab.lab.until_ended() == {"COMPLETED": 3, "FAILED": 2}
    assert len(lab.jobs()) == 2, "what is staged is read again"


def test_a_failed_staging_names_a_remedy_and_a_retry_after_it_completes(lab: StagingWorld) -> None:
    (tar,) = observe(lab, "a")
    content = tar.read_bytes()
    tar.write_bytes(content.replace(b"scan-0 a", b"scan-0 A"))
    assert lab.lab.until_ended() == {"FAILED": 1}
    ((failure, message),) = lab.failures()
    assert failure == "staging"
    assert message.startswith("package scan-0: from archive: scan.dat has sha256 ")
    assert message.endswith("the next attempt stages it again: if that fails alike, the archived copy is damaged")
    assert [(job.status, job.failure_message) for job in lab.jobs()] == [(Status.FAILED, message)]
    assert (lab.staged(), lab.copies(0)) == ([], [Held(ARCHIVE, "scan-0.tar", PRESENT, verified=False)])
    tar.unlink()
    lab.retry()
    assert lab.lab.until_ended() == {"FAILED": 2}
    assert f"from archive: {tar}: no such file: the copy on record is not there" in lab.failures()[1][1]
    tar.write_bytes(content)
    lab.retry()
    assert lab.lab.until_ended() == {"FAILED": 2, "COMPLETED": 1}
    assert list(lab.products()) == ["scan-0 a\n"]


def test_failure_to_stage_has_a_budget_of_its_own(lab: StagingWorld) -> None:
    (tar,) = observe(lab, "a", retries={**NO_RETRIES, "staging": 1})
    content = tar.read_bytes()
    tar.write_bytes(tar_of({"other": b"x"}))
    lab.lab.until(lambda: len(lab.lab.attempts()) == 2)
    tar.write_bytes(content)
    lab.lab.works.observatory.clock.pass_seconds(3600)
    assert lab.lab.until_ended() == {"COMPLETED": 1}


@pytest.mark.parametrize("border", ["staging asked", "staging recorded"])
def test_an_orchestrator_killed_between_transactions_leaves_nothing_half_done(lab: StagingWorld, border: str) -> None:
    observe(lab, "a")
    deaths = 0
    for _ in range(3):
        lab.watch(killed_at(border))
        try:
            lab.lab.tick()
        except Killed:
            deaths += 1
        lab.watch(None)
    assert deaths >= 1
    assert lab.lab.until_ended() == {"COMPLETED": 1}
    assert [job.status for job in lab.jobs()] == [Status.COMPLETED]
    assert len(lab.copies(0)) == 2


def test_a_staged_copy_removed_by_another_user_is_staged_again(each_lab: StagingWorld) -> None:
    lab = each_lab
    observe(lab, "a", "b")
    assert lab.lab.until_ended() == {"COMPLETED": 2}
    there, gone = sorted(lab.staged_root.glob("scan-*"))[::-1]
    shutil.rmtree(gone)
    lab.lab.works.ask("read", force=True)
    assert lab.lab.until_ended() == {"COMPLETED": 4}
    assert [job.status for job in lab.jobs()] == [Status.COMPLETED] * 3
    assert lab.staged() == sorted([gone.name, there.name])
    assert [lab.copies(number)[0].status for number in range(2)] == [STAGED] * 2
    lab.lab.works.request()
    let_go(lab.cluster)
    shutil.rmtree(lab.staged_root)
    lab.lab.works.ask("read", "scan-0", force=True)
    assert lab.lab.until_ended() == {"COMPLETED": 5}


def test_another_archive_is_tried_where_one_fails(each_lab: StagingWorld) -> None:
    lab = each_lab
    (tar,) = observe(lab, "a", retries={**NO_RETRIES, "staging": 1})
    with lab.cluster.ops_db.write() as session:
        host = session.get_one(DiskDataLocation, LOCAL).host
        first = DiskDataLocation(
            id=COLOGNE, site_id=1, name="first", priority=9, host=host, path=str(tar.parent / "first")
        )
        first.location_type = LocationType.LONG_TERM_ARCHIVE
        session.add(first)
        session.flush()
        package_id = session.scalars(sa.select(Copy.raw_data_package_id)).one()
        there = {"raw_data_package_id": package_id, "status": PRESENT, "created_at": lab.cluster.clock()}
        session.add(Copy(data_location_id=COLOGNE, path="scan-0.tar", **there))
    lab.lab.until(lambda: len(lab.lab.attempts()) == 2)
    lab.lab.works.observatory.clock.pass_seconds(3600)
    assert lab.lab.until_ended() == {"COMPLETED": 1}
    assert [(job.status, job.source_location_id) for job in lab.jobs()] == [
        (Status.FAILED, COLOGNE),
        (Status.COMPLETED, ARCHIVE),
    ]
    with lab.cluster.ops_db.read() as session:
        copies = archived_copies(session, [PackageId(package_id or 0)], LOCAL)
    assert [copy.location.id for copy in copies.values()] == [COLOGNE], "what is past counts no more"


def test_no_archive_no_run(lab: StagingWorld) -> None:
    lab.lab.declare("a", "b")
    lab.pack(1)
    with lab.cluster.ops_db.write() as session:
        session.execute(sa.delete(Copy).where(Copy.path == "scan-0"))
    lab.change(stager=None)
    lab.lab.works.request()
    assert lab.lab.until_ended() == {"FAILED": 2}
    assert all(
        "no copy that can be read here, and none in a long-term archive" in message for _, message in lab.failures()
    )
    assert lab.jobs() == []


def test_a_location_that_differs_from_the_workspace_is_reported(lab: StagingWorld) -> None:
    observe(lab, "a")
    with lab.cluster.ops_db.write() as session:
        session.execute(sa.text("UPDATE disk_data_location SET path = '/elsewhere' WHERE id = 1"))
    assert lab.lab.until_ended() == {"FAILED": 1}
    assert "data location 'local' is in /elsewhere, but pipeline_base_dir is" in lab.failures()[0][1]


def gap_of(sub_group_id: int, reason: str) -> SubGroupGap:
    """Return what a look at the step's gaps leaves."""
    numbers = dict.fromkeys(("input_count", "lane_0", "lane_1", "lane_2", "will_run", "purged"), 0)
    step_id, sub_group = StepId(1), SubGroupId(sub_group_id)
    return SubGroupGap(step_id=step_id, sub_group_id=sub_group, reason=reason, alive=1, **numbers)


def free(lab: StagingWorld, keep: timedelta = NOW) -> Sequence[str]:
    with lab.cluster.ops_db.read() as session:
        return [copy.name for copy in unneeded_copies(session, LOCAL, lab.cluster.clock(), keep)]


def test_only_unneeded_archived_copies_are_let_go_oldest_use_first(each_lab: StagingWorld) -> None:
    lab = each_lab
    tars = observe(lab, "a", "b", "c")
    lab.lab.until_ended()
    lab.lab.works.request()
    assert free(lab) == ["scan-0", "scan-1", "scan-2"]
    lab.pass_hours(1)
    assert free(lab, timedelta(hours=1.5)) == []
    lab.lab.works.ask("read", "scan-0", force=True)
    assert free(lab) == ["scan-1", "scan-2"], "a run in flight reads it"
    lab.lab.until_ended()
    lab.lab.works.request()
    assert free(lab) == ["scan-1", "scan-2", "scan-0"]
    assert free(lab, timedelta(minutes=30)) == ["scan-1", "scan-2"]
    with lab.cluster.ops_db.write() as session:
        session.add(gap_of(3, "missing"))
    assert free(lab) == ["scan-1", "scan-0"], "an open gap will read it"
    with lab.cluster.ops_db.write() as session:
        session.execute(sa.update(SubGroupGap).values(reason="up_to_date"))
        session.execute(sa.delete(Copy).where(Copy.path == tars[1].name))
    assert free(lab) == ["scan-2", "scan-0"], "the only copy of scan-1 stays"
    size = len("scan-2 c\n")
    with lab.cluster.ops_db.write() as session:
        session.execute(sa.text(f"UPDATE raw_data_package SET size_bytes = {size}"))
    assert let_go(lab.cluster, wanted_bytes=size) == size
    assert [name[:6] for name in lab.staged()] == ["scan-0", "scan-1"]
    assert let_go(lab.cluster, keep=timedelta(minutes=30)) == 0
    assert [copy.status for copy in lab.copies(2)] == [PhysicalCopyStatus.DELETED, PRESENT]
    lab.lab.works.ask("read", "scan-2", force=True)
    assert set(lab.lab.until_ended()) == {"COMPLETED"}
    assert lab.copies(2)[0].status is STAGED
    assert len(lab.jobs()) == 4, "it was brought anew"


def test_a_package_ingested_in_place_is_never_let_go(lab: StagingWorld) -> None:
    lab.lab.declare("a")
    place = lab.cluster.base / "ingested" / "scan-0"
    place.parent.mkdir()
    (lab.lab.works.observatory.base / "archive" / "scan-0").rename(place)
    with lab.cluster.ops_db.write() as session:
        (copy,) = session.scalars(sa.select(Copy)).all()
        copy.data_location_id, copy.path = LOCAL, "ingested/scan-0"
        there = {"raw_data_package_id": copy.raw_data_package_id, "status": PRESENT, "created_at": copy.created_at}
        session.add(Copy(data_location_id=ARCHIVE, path="scan-0.tar", **there))
    lab.lab.works.request()
    assert lab.lab.until_ended() == {"COMPLETED": 1}
    lab.lab.works.request()
    assert (free(lab), let_go(lab.cluster)) == ([], 0)
    assert (place / "scan.dat").exists()
    assert lab.copies(0)[0].status is STAGED


def test_a_package_staged_after_its_run_was_cancelled_is_registered_and_may_be_let_go(each_lab: StagingWorld) -> None:
    lab = each_lab
    observe(lab, "a")
    lab.lab.tick()
    lab.lab.works.cancel()
    lab.lab.until_ended()
    eventually(lambda: len(lab.staged()) == 1)
    assert lab.copies(0)[0].location_id == ARCHIVE
    assert let_go(lab.cluster, keep=timedelta(hours=1)) == 0
    assert [job.status for job in lab.jobs()] == [Status.COMPLETED]
    assert lab.copies(0)[0].status is STAGED
    let_go(lab.cluster)
    assert lab.staged() == []


def test_a_staging_job_without_a_worker_and_a_waiting_run_is_given_up(lab: StagingWorld) -> None:
    observe(lab, "a")
    with lab.cluster.ops_db.read() as session:
        package = session.scalars(sa.select(Copy.raw_data_package_id)).one()
        copies = archived_copies(session, [PackageId(package or 0)], LOCAL)
    with lab.cluster.ops_db.write() as session:
        request_jobs(session, copies.values(), LOCAL, lab.cluster.clock())
    let_go(lab.cluster)
    assert [job.status for job in lab.jobs()] == [Status.PENDING], "a run in flight waits for it"
    lab.lab.works.cancel()
    let_go(lab.cluster)
    assert [(job.status, job.failure_message) for job in lab.jobs()] == [
        (Status.FAILED, "nobody waited for it any more")
    ]


@pytest.mark.parametrize(
    ("border", "then"),
    [
        ("staged copies marked", "needed"),
        ("staged copies going", "needed"),
        ("staged copies removed", "needed"),
        ("staged copies marked", "let go again"),
        ("staged copies removed", "let go again"),
    ],
)
def test_an_interrupted_letting_go_is_completed_or_undone(lab: StagingWorld, border: str, then: str) -> None:
    observe(lab, "a")
    lab.lab.until_ended()
    lab.lab.works.request()
    lab.watch(killed_at(border))
    with pytest.raises(Killed):
        let_go(lab.cluster)
    lab.watch(None)
    assert lab.copies(0)[0].status is not STAGED, "no run begins to read it"
    if then == "let go again":
        let_go(lab.cluster)
        assert (lab.staged(), lab.copies(0)[0].status) == ([], PhysicalCopyStatus.DELETED)
        return
    lab.lab.works.ask("read", force=True)
    assert lab.lab.until_ended() == {"COMPLETED": 2}
    assert lab.copies(0)[0].status is STAGED
    assert len(lab.staged()) == 1
    assert len(lab.jobs()) == (1 if border == "staged copies marked" else 2)


def test_a_run_created_between_the_mark_and_the_removal_keeps_the_copy(each_lab: StagingWorld) -> None:
    lab = each_lab
    observe(lab, "a")
    lab.lab.until_ended()
    lab.lab.works.request()

    def request(here: str) -> None:
        if here == "staged copies marked":
            lab.lab.works.ask("read", force=True)

    lab.watch(request)
    assert let_go(lab.cluster) == 0
    assert lab.copies(0)[0].status is STAGED
    lab.watch(None)
    assert lab.lab.until_ended() == {"COMPLETED": 2}
    assert len(lab.jobs()) == 1
