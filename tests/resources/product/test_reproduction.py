import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from ccat_models.clock import system_clock
from ccat_models.lineage.completed import current_runs
from ccat_models.run.reproducing import FORGOTTEN_AFTER, Reproducing
from ccat_models.tables import Base
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, AttemptState, Purpose
from ccat_models.tables.places import DataProductPhysicalCopy as Copy
from ccat_models.tables.places import PhysicalCopyStatus
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import RawDataPackage
from resources.backend import Batch
from resources.errors import SubmissionPostponed
from resources.local.backend import LocalBackEnd
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.product.comparison import FileFinding
from resources.product.reproduction import Reproducer
from resources.product.reproduction_report import Outcome, Reproduction
from resources.product.scratch_attempts import ScratchAttempts
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from resources.run.executor import Executor
from tests.support.faults.doubtful import FakeDoubtfulBackEnd
from tests.support.hands.attempts import eventually
from tests.support.parts.clusters import local_cluster
from tests.support.worlds.manual import ManualWorld, release, step
from tests.support.worlds.on_slurm import QUICK

pytestmark = pytest.mark.slow

# Does the second time what its scan says; the first time it leaves what every program of that kind leaves.
PROGRAM = """
import json, os, pathlib, signal, sys, time
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
out = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"])
places = [pathlib.Path(s["path"]) / f["path"] for s in manifest["inputs"] for f in s["files"]]
places += [pathlib.Path(s["path"]) / p["path"] for s in manifest["upstream"] for p in s["products"]]
text = "".join(place.read_text() for place in places)
with open(manifest["parameters"]["calls"], "a") as calls:
    calls.write(f'{manifest["step"]["name"]} {manifest["sub_group"]["key"]} {manifest["run"]["submission_key"]}\\n')
again = ".reproduce" in os.environ["WORKFLOW_OUTPUT_DIR"]
if again and "vanish" in text:
    os.kill(os.getppid(), signal.SIGKILL)
if again and "fail" in text:
    sys.exit("out of luck")
if again and "sleep" in text:
    time.sleep(60)
for name in ("science", "qa"):
    (out / name).mkdir(parents=True, exist_ok=True)
if "random" in text:
    (out / "science" / os.urandom(4).hex()).write_text("a name of its own")
(out / "science" / "text.txt").write_text(text + ("later" if again and "random" in text else ""))
numbers = {"letters": len(text), "letters_max": 1000, "again": again and "random" in text}
(out / "qa" / "numbers.json").write_text(json.dumps(numbers))
"""
RESOURCES = {"cpus": 1, "memory_gb": 0.1, "time_hours": 0.02}


@dataclass
class TickedWorld:
    """Runs that have completed: one of each scan, and one of all of them."""

    works: ManualWorld
    calls: Path
    given: Counter[str] = field(default_factory=Counter)

    @staticmethod
    def open(base: Path, template: Path) -> "TickedWorld":
        """Open the observatory below a directory, with a local back end of four places."""
        ops_db = OpsDb(f"sqlite:///{shutil.copyfile(template, base / 'ops.sqlite')}")
        works = ManualWorld.open(ops_db, base)
        works.cluster = local_cluster(ops_db, base / "workspace", slots=4, timing=QUICK)
        return TickedWorld(works, base / "calls")

    def complete(self, *contents: str) -> list[RunId]:
        """Let a run of each content complete, and one that reads the products of all."""
        (self.works.code / "reduce.py").write_text(PROGRAM)
        for number, content in enumerate(contents):
            self.works.observatory.scan(number, content)
        given: dict[str, Any] = {"parameters": {"calls": str(self.calls)}, "resources": RESOURCES}
        self.works.declare(step("read", **given), step("join", [], depends_on=["read"], **given))
        outcome = Attached(Executor(self.works.cluster), "test", 0.02).run_pipeline(
            "letters", RequestOptions(by="test")
        )
        assert outcome.failed == []
        with self.works.cluster.ops_db.read() as session:
            return current_runs(session, "letters")

    def reproduce(self, *runs: int, cluster: Cluster | None = None, **options: Any) -> list[Reproduction]:
        """Reproduce runs, seeing to it that nothing that was there before is touched."""
        before, self.given = self.everything(), self.executions()
        try:
            return Reproducer(cluster or self.works.cluster, 0.02, **options).reproduce([RunId(run) for run in runs])
        finally:
            assert self.everything() == before

    def executed(self) -> Counter[str]:
        """Return how often each sub-group was executed since a reproduction began."""
        return Counter({line.rpartition(" ")[0]: n for line, n in (self.executions() - self.given).items()})

    def everything(self) -> Mapping[str, object]:
        """Return all files of the workspace but for the scratch, and all rows that no reproduction may change.

        It may add and change attempts that reproduce, and takes the cluster's lease.
        """
        own = {"attempt": Attempt.purpose == Purpose.EXECUTE, "observer_lease": sa.false()}
        with self.works.cluster.ops_db.read() as session:
            rows: dict[str, object] = {
                table.name: sorted(
                    (tuple(row) for row in session.execute(sa.select(table).where(own.get(table.name, sa.true())))),
                    key=repr,
                )
                for table in Base.metadata.sorted_tables
            }
        base = self.works.cluster.base
        files = (path for path in sorted((base / "letters").rglob("*")))
        return rows | {str(path): (path.lstat().st_mtime_ns, _content(path)) for path in files}

    def scratch(self) -> list[Path]:
        """Return the files that reproductions have left."""
        return list((self.works.cluster.base / ".reproduce").glob("*"))

    def reproductions(self, run: int) -> list[Attempt]:
        """Return the attempts that reproduce a run, the newest first."""
        reproducing = sa.select(Attempt).where(Attempt.run_id == run, Attempt.purpose == Purpose.REPRODUCE)
        with self.works.cluster.ops_db.read() as session:
            return list(session.scalars(reproducing.order_by(Attempt.number)))

    def executions(self) -> Counter[str]:
        """Return how often each step was executed on each sub-group with which submission key."""
        return Counter(self.calls.read_text().splitlines())

    def change(self, statement: sa.Update) -> None:
        """Change rows."""
        with self.works.cluster.ops_db.write() as session:
            session.execute(statement)


def _content(path: Path) -> object:
    if path.is_symlink():
        return path.readlink()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


SCANS = ("same", "random", "fail", "vanish", "sleep", "sleep too", "last")
SAME, RANDOM, FAIL, VANISH, SLEEP, SLEEP_TOO, LAST, JOIN = range(1, 9)


@pytest.fixture(scope="module")
def done(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TickedWorld]:
    """Give an observatory whose runs have completed, to look at and not to change."""
    bench = TickedWorld.open(tmp_path_factory.mktemp("reproduction"), sqlite_template)
    assert bench.complete(*SCANS) == [SAME, RANDOM, FAIL, VANISH, SLEEP, SLEEP_TOO, LAST, JOIN]
    yield bench
    bench.works.cluster.ops_db.close()


@pytest.fixture
def bench(done: TickedWorld) -> Iterator[TickedWorld]:
    """Give the same, without what other tests have kept."""
    yield done
    shutil.rmtree(done.works.cluster.base / ".reproduce", ignore_errors=True)


def outcomes(found: list[Reproduction]) -> list[str]:
    return [one.outcome.value for one in found]


def said(found: list[Reproduction]) -> str:
    (one,) = found
    assert one.outcome is Outcome.CANNOT
    assert one.files == ()
    return one.message


def test_identical_products_are_reported_as_such_and_not_kept(bench: TickedWorld) -> None:
    on_progress: list[tuple[int, int]] = []
    before = len(bench.reproductions(LAST))
    found = bench.reproduce(LAST, SAME, on_progress=lambda ended, running: on_progress.append((ended, running)))
    assert [one.run_id for one in found] == [LAST, SAME]
    assert outcomes(found) == ["identical"] * 2
    assert [[file.path for file in one.files] for one in found] == [["qa/numbers.json", "science/text.txt"]] * 2
    assert [(one.step, one.attempt, one.kept) for one in found] == [("read", 1, None)] * 2
    assert max(bench.executions().values()) == 2  # programs see the recorded submission key
    assert bench.scratch() == []
    assert on_progress[-1] == (2, 0)
    newest, *_ = bench.reproductions(LAST)
    assert (newest.number, newest.state, newest.exit_code) == (-before - 1, AttemptState.ENDED, 0)
    assert (newest.failure_class, newest.wanted_until) == (None, None)
    recorded, now = found[0].recorded, found[0].now
    assert recorded is not None
    assert now is not None
    assert replace(now, wall_seconds=recorded.wall_seconds) == recorded
    program = str(bench.works.cluster.base / ".code")
    assert (now.host, now.runtime, now.command[0]) == (socket.gethostname(), "process", sys.executable)
    assert now.command[1].startswith(program)


def test_a_reproduced_run_gets_the_same_manifest_though_ops_db_has_changed(bench: TickedWorld) -> None:
    package = sa.update(RawDataPackage).where(RawDataPackage.name == "scan-0")
    bench.change(package.values(metadata_={"number": 7}))
    (found,) = bench.reproduce(SAME, keep=True)
    bench.change(package.values(metadata_={"number": 0}))
    assert (found.outcome, found.not_in_ops_db) == (Outcome.IDENTICAL, ("inputs[0].metadata.number",))
    assert found.kept is not None
    first = bench.works.cluster.base / "letters" / "executed_obs_unit=scan-0" / "read" / "run-1" / "attempt-1"
    manifest = (first / "config" / "manifest.json").read_text()
    assert (found.kept / "config" / "manifest.json").read_text() == manifest.replace(str(first), str(found.kept))
    jobs = [json.loads((place / "job.json").read_text()) for place in (first, found.kept)]
    assert len({job.pop("submission_key") for job in jobs}) == 2
    assert json.dumps(jobs[1]) == json.dumps(jobs[0]).replace(str(first), str(found.kept))


def test_every_file_and_number_that_differs_is_named_and_kept(bench: TickedWorld) -> None:
    same, random = found = bench.reproduce(SAME, RANDOM)
    assert outcomes(found) == ["identical", "differs"]
    compared = {file.path: file for file in random.files}
    assert Counter(file.finding.value for file in random.files) == {"differs": 2, "missing": 1, "new": 1}
    text, numbers = compared["science/text.txt"], compared["qa/numbers.json"]
    assert text.finding is numbers.finding is FileFinding.DIFFERS
    assert (text.recorded_size_bytes, text.size_bytes) == (14, 19)
    assert text.sha256 == hashlib.sha256(b"scan-1 random\nlater").hexdigest()
    assert [(number.name, number.recorded, number.now) for number in numbers.numbers] == [("again", 0.0, 1.0)]
    assert (same.kept, random.kept and random.kept.is_dir()) == (None, True)
    assert [path.name for path in bench.scratch()[0].glob("letters/*/*/*")] == ["run-2"]


def test_inputs_that_changed_since_the_run_are_named(tmp_path: Path, sqlite_template: Path) -> None:
    bench = TickedWorld.open(tmp_path, sqlite_template)
    read, changed, other, join = bench.complete("a", "b", "c")
    raw = bench.works.observatory.base / "archive" / "scan-0" / "scan.dat"
    raw.write_text("scan-0 x\n")
    message = said(bench.reproduce(read))
    assert message.startswith("package scan-0: scan.dat: checksum differs (sha256 ")
    assert outcomes(bench.reproduce(read, verify_inputs=False)) == ["differs"]
    raw.unlink()
    assert "package scan-0: scan.dat: missing" in said(bench.reproduce(read))
    bench.works.observatory.withdraw(0)
    assert said(bench.reproduce(read)) == "package scan-0: withdrawn, it is failed and not archived"
    bench.works.observatory.scan(1, "new")
    assert said(bench.reproduce(changed)).startswith("package scan-1: changed, checksum ")
    with bench.works.cluster.ops_db.read() as session:
        product = session.scalars(sa.select(DataProduct).where(DataProduct.path == "science/text.txt")).first()
        assert product is not None
        copy = session.scalars(sa.select(Copy).where(Copy.data_product_id == product.id)).one()
    (bench.works.cluster.base / copy.path).write_text("other")
    producer = "run 1 (read executed_obs_unit=scan-0)"
    assert said(bench.reproduce(join)) == f"{producer}: science/text.txt: size differs (5 bytes, registered 9)"
    bench.change(sa.update(Copy).where(Copy.id == copy.id).values(status=PhysicalCopyStatus.DELETED))
    assert said(bench.reproduce(join)) == f"product {product.id} (science/text.txt of run 1): purged"
    (bench.works.code / "reduce.py").write_text("another")
    assert "has changed since it was registered" in said(bench.reproduce(other))


def test_a_run_that_has_not_completed_is_reported(tmp_path: Path, sqlite_template: Path) -> None:
    works = TickedWorld.open(tmp_path, sqlite_template).works
    works.observatory.scan(0)
    works.declare(step("read"))
    works.request()
    (found,) = Reproducer(works.cluster, 0.02).reproduce(works.in_flight())
    assert (found.outcome, found.message) == (Outcome.CANNOT, "run 1 has not completed: PENDING")


def test_a_missing_image_is_reported(tmp_path: Path, sqlite_template: Path) -> None:
    works = TickedWorld.open(tmp_path, sqlite_template).works
    works.releases = [release("1.0.0", image="/nowhere/gone.sif", sha256="0" * 64)]
    works.observatory.scan(0)
    works.declare(step("read"))
    works.request()
    (run,) = works.in_flight()
    works.complete()
    (found,) = Reproducer(works.cluster, 0.02).reproduce([run])
    assert found.outcome is Outcome.CANNOT
    assert "/nowhere/gone.sif" in found.message


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (FAIL, "failed: exit code 1: out of luck"),
        (VANISH, "lost: not in the queue and without a result for N s; it had begun"),
    ],
)
def test_a_second_execution_that_fails_or_is_lost_is_reported_and_kept(
    bench: TickedWorld, run: int, message: str
) -> None:
    (found,) = bench.reproduce(run)
    assert (found.outcome, re.sub(r"for \d+ s", "for N s", found.message)) == (Outcome.FAILED, message)
    assert found.kept is not None
    assert (found.kept / "job.json").is_file()


@dataclass
class _Interrupted:
    """A sleep that is interrupted by Ctrl-C once a condition holds."""

    condition: Callable[[], bool]

    def __call__(self, seconds: float) -> None:
        if self.condition():
            raise KeyboardInterrupt
        time.sleep(seconds)


def wrappers(base: Path) -> list[int]:
    return [process.pid for process in psutil.process_iter() if str(base / ".reproduce") in " ".join(_words(process))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_an_interruption_ends_the_jobs_and_removes_all(bench: TickedWorld) -> None:
    base = bench.works.cluster.base
    with pytest.raises(KeyboardInterrupt):
        bench.reproduce(SLEEP, SLEEP_TOO, SAME, sleep=_Interrupted(lambda: len(bench.executed()) == 3))
    assert wrappers(base) == []
    assert bench.scratch() == []


def another_time(cluster: Cluster, passed: timedelta) -> Cluster:
    """Return the cluster as another process has it so much later."""
    return replace(cluster, clock=lambda: system_clock() + passed)


def tick(cluster: Cluster) -> bool:
    """Let the executor act once, as the sensor does; say whether it could."""
    executor = Executor(cluster)
    acted = executor.tick()
    executor.release()
    return acted


def test_jobs_and_files_of_a_killed_process_are_ended_and_removed_by_the_executor(bench: TickedWorld) -> None:
    cluster, before, reproduced, child = bench.works.cluster, bench.everything(), bench.reproductions(SLEEP), os.fork()
    if child == 0:
        try:
            own = replace(cluster, ops_db=OpsDb(cluster.ops_db.url.render_as_string(hide_password=False)))
            Reproducer(own, 0.02).reproduce([RunId(SLEEP)])
        finally:
            os._exit(1)
    eventually(lambda: wrappers(cluster.base))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (scratch,) = bench.scratch()
    assert tick(cluster)
    assert wrappers(cluster.base), "it may yet be waited for"
    soon = another_time(cluster, FORGOTTEN_AFTER)
    eventually(lambda: tick(soon) and bench.reproductions(SLEEP)[0].state is AttemptState.ENDED)
    eventually(lambda: not wrappers(cluster.base))
    assert bench.scratch() == [scratch]
    assert tick(another_time(cluster, 2 * FORGOTTEN_AFTER))
    assert bench.scratch() == []
    left, *earlier = bench.reproductions(SLEEP)
    assert len(earlier) == len(reproduced)
    assert (left.failure_class, left.wanted_until, left.directory) == (
        None,
        None,
        f"{scratch}/letters/executed_obs_unit=scan-4/read/run-5/attempt-1",
    )
    assert bench.everything() == before


def test_reproductions_that_a_killed_process_had_not_laid_out_are_never_sent(bench: TickedWorld) -> None:
    cluster, directory = bench.works.cluster, bench.works.cluster.base / ".reproduce" / "killed" / "attempt-1"
    waiting = ScratchAttempts(Executor(cluster), 0.02)
    waiting.add([Reproducing(RunId(SAME), "0" * 32, str(directory), RESOURCES)])
    before, given = bench.everything(), bench.executions()
    assert tick(cluster)
    assert bench.reproductions(SAME)[0].state is AttemptState.INTENDED
    assert tick(another_time(cluster, FORGOTTEN_AFTER))
    assert (bench.reproductions(SAME)[0].state, bench.reproductions(SAME)[0].sends) == (AttemptState.ENDED, 0)
    assert tick(another_time(cluster, 2 * FORGOTTEN_AFTER))
    assert (bench.scratch(), bench.everything(), bench.executions()) == ([], before, given)


def doubtful(bench: TickedWorld, slots: int = 4, **fields: Any) -> tuple[Cluster, FakeDoubtfulBackEnd]:
    backend = FakeDoubtfulBackEnd(LocalBackEnd(bench.works.cluster.base, slots, python=sys.executable), **fields)
    return replace(bench.works.cluster, backend=backend), backend


@pytest.mark.parametrize("arrives", [True, False])
def test_a_submission_in_doubt_is_looked_for_and_never_executed_twice(bench: TickedWorld, *, arrives: bool) -> None:
    cluster, backend = doubtful(bench, doubts=1, arrives=arrives, silences=2)
    assert outcomes(bench.reproduce(SAME, LAST, cluster=cluster)) == ["identical"] * 2
    assert sorted(Counter(backend.sent).values()) == ([1, 1] if arrives else [2, 2])
    assert bench.executed() == {f"read executed_obs_unit=scan-{scan}": 1 for scan in (0, 6)}


class Crowded(FakeDoubtfulBackEnd):
    """A back end that puts the first submission off."""

    def submit(self, batch: Batch) -> None:
        if not self.sent:
            self.sent += ["put off"]
            raise SubmissionPostponed("too many jobs")
        super().submit(batch)


class Narrow(FakeDoubtfulBackEnd):
    """A back end whose last places another process takes in between."""

    def capacity(self) -> int:
        return 4 if not self.sent else super().capacity()


@pytest.mark.parametrize("kind", [Crowded, Narrow])
def test_reproductions_without_a_free_place_are_sent_later(bench: TickedWorld, kind: type[FakeDoubtfulBackEnd]) -> None:
    backend = kind(LocalBackEnd(bench.works.cluster.base, slots=1, python=sys.executable))
    cluster = replace(bench.works.cluster, backend=backend)
    assert outcomes(bench.reproduce(SAME, LAST, cluster=cluster)) == ["identical"] * 2
    assert bench.executed() == {f"read executed_obs_unit=scan-{scan}": 1 for scan in (0, 6)}
    assert len(backend.sent) == 3
    assert [bench.reproductions(run)[0].sends for run in (SAME, LAST)] == [1, 1], "what was put off was never sent"


def test_nothing_is_sent_while_something_is_in_doubt(bench: TickedWorld) -> None:
    cluster, backend = doubtful(bench, slots=1, doubts=1, arrives=False)
    assert outcomes(bench.reproduce(SAME, LAST, cluster=cluster)) == ["identical"] * 2
    first, again, other = backend.sent
    assert first == again != other


def test_a_refused_submission_is_reported(bench: TickedWorld) -> None:
    cluster, _ = doubtful(bench, refusals=1)
    found = bench.reproduce(SAME, LAST, cluster=cluster)
    assert [(one.outcome, one.message) for one in found] == [(Outcome.FAILED, "the account has expired")] * 2


def test_a_job_that_will_never_run_is_ended(bench: TickedWorld) -> None:
    cluster, backend = doubtful(bench, queued=[], never=True)
    (found,) = bench.reproduce(SAME, cluster=cluster)
    assert found.message == "bad constraints; it never began"
    assert len(backend.cancelled) == 1


def test_more_runs_than_there_is_room_for_take_turns(bench: TickedWorld) -> None:
    cluster, backend = doubtful(bench, slots=1)
    assert outcomes(bench.reproduce(SAME, LAST, cluster=cluster)) == ["identical"] * 2
    assert len(backend.sent) == 2


def test_runs_that_wait_are_sent_before_reproductions(tmp_path: Path, sqlite_template: Path) -> None:
    bench = TickedWorld.open(tmp_path, sqlite_template)
    bench.complete("a", "b")
    bench.works.observatory.scan(2, "c")
    bench.works.request()
    (run,) = bench.works.in_flight()
    cluster, backend = doubtful(bench, slots=1)
    assert outcomes(Reproducer(cluster, 0.02).reproduce([RunId(1)])) == ["identical"]
    with cluster.ops_db.read() as session:
        keys = dict(session.execute(sa.select(Attempt.submission_key, Attempt.run_id)).tuples().all())
    assert [keys[key] for key in backend.sent] == [run, 1]
    assert [len(batch.requests) for batch in backend.batches] == [1, 1], "neither was put off"


def test_another_process_may_move_what_is_reproduced(bench: TickedWorld) -> None:
    other = Executor(bench.works.cluster)
    assert other.tick()
    moved: list[bool] = []

    def sleep(seconds: float) -> None:
        moved.append(other.tick())
        time.sleep(seconds)

    try:
        assert outcomes(bench.reproduce(SAME, sleep=sleep)) == ["identical"]
    finally:
        other.release()
    assert len(moved) > 1
    assert all(moved), "the lease stays with the other one"
