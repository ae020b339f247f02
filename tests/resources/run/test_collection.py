"""Outputs of an attempt are registered only as far as they can be checked."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.product import collect
from ccat_models.product.collect import register
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from ccat_models.tables.places import DataProductPhysicalCopy
from ccat_models.tables.products import DataProduct, QualityMetric
from tests.support.worlds.manual import NO_RETRIES, made_up, start
from tests.support.worlds.ticked import TickedWorld

TEXT = "output/science/text.txt"
NUMBERS = "output/qa/numbers.json"


def count(bench: TickedWorld, *tables: type) -> list[int]:
    with bench.works.cluster.ops_db.read() as session:
        return [session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables]


def garbage(directory: Path) -> None:
    (directory / "result.json").write_text('{"schema_version": 1, "submission')


def another_key(directory: Path) -> None:
    result = json.loads((directory / "result.json").read_text())
    (directory / "result.json").write_text(json.dumps(result | {"submission_key": "0" * 32}))


def altered(directory: Path) -> None:
    text = (directory / TEXT).read_text()
    (directory / TEXT).write_text(text.upper())


def longer(directory: Path) -> None:
    with (directory / TEXT).open("a") as file:
        file.write("more")


def removed(directory: Path) -> None:
    (directory / TEXT).unlink()


def linked(directory: Path) -> None:
    (directory / TEXT).rename(directory / "elsewhere")
    (directory / TEXT).symlink_to(directory / "elsewhere")


def linked_directory(directory: Path) -> None:
    (directory / "output/science").rename(directory / "elsewhere")
    (directory / "output/science").symlink_to(directory / "elsewhere")


def without_job(directory: Path) -> None:
    (directory / "job.json").unlink()


def result_with(**fields: Any) -> Callable[[Path], None]:
    """Return what makes a result say something else."""

    def write(directory: Path) -> None:
        result = json.loads((directory / "result.json").read_text())
        (directory / "result.json").write_text(json.dumps(result | fields))

    return write


def listed_twice(directory: Path) -> None:
    result = json.loads((directory / "result.json").read_text())
    result_with(outputs=result["outputs"] * 2)(directory)


def qa(content: str, name: str = NUMBERS) -> Callable[[Path], None]:
    """Return what writes a qa file as if the program had done so."""

    def write(directory: Path) -> None:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
        result = json.loads((directory / "result.json").read_text())
        outputs = [output for output in result["outputs"] if output["path"] != name]
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        entry = {"path": name, "type": "qa_metric", "size_bytes": len(content), "sha256": sha256}
        result["outputs"] = [*outputs, entry]
        (directory / "result.json").write_text(json.dumps(result))

    return write


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        for one in changes:
            one(directory)

    return change


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (garbage, "result.json: "),
    "another key": (another_key, "is of submission key"),
    "altered": (altered, "its checksum is not"),
    "longer": (longer, "when the program ended"),
    "removed": (removed, "not a regular file of this attempt"),
    "linked": (linked, "not a regular file of this attempt"),
    "in a linked directory": (linked_directory, "not a regular file of this attempt"),
    "job removed": (without_job, "job.json"),
    "much memory": (result_with(peak_memory_bytes=10**30), "peak_memory_bytes: "),
    "large exit code": (result_with(outcome="failed", exit_code=10**30, outputs=[]), "exit_code: "),
    "large signal": (result_with(outcome="failed", exit_code=None, signal=10**30, outputs=[]), "signal: "),
    "long host": (result_with(host="h" * 201), "host: "),
    "long job id": (result_with(job_id="1" * 65), "job_id: "),
    "much time": (result_with(wall_seconds=1e308), "wall_seconds: "),
    "listed twice": (listed_twice, "is listed twice"),
    "qa: words": (qa('{"letters": "many"}'), "letters must be a finite number or a boolean, got 'many'"),
    "qa: not a number": (qa('{"letters": NaN}'), "letters must be a finite number or a boolean, got nan"),
    "qa: beyond floats": (qa(f'{{"letters": 1{"0" * 400}}}'), "letters must be a finite number or a boolean, got 1000"),
    "qa: a list": (qa("[1]"), "must hold one object of numbers, got list"),
    "qa: not JSON": (qa("letters: 1"), "not JSON"),
    "qa: bottomless": (qa("[" * 100_000), "not JSON"),
    "qa: unprintable": (qa('{"a\\u0000": 1}'), "a name must be printable"),
    "qa: long name": (qa(json.dumps({"n" * 201: 1})), "too long or not the only one: nnn"),
    "qa: same name twice": (
        both(qa('{"a": 1}', "output/qa/x/one.json"), qa('{"a": 1}', "output/qa/y/one.json")),
        "too long or not the only one: one.a",
    ),
}


def test_invalid_outputs_are_not_registered(bench: TickedWorld) -> None:
    bench = TickedWorld(bench.works, slots=len(BAD) + 1)
    bench.declare(*BAD, "a good one")
    bench.works.request()
    directories = bench.until_written()
    for (spoil, _), directory in zip(BAD.values(), directories, strict=False):
        spoil(directory)
    bench.tick()
    *attempts, good = bench.attempts()
    assert bench.run(good.run_id).status is RunStatus.COMPLETED, "bad files of the others must not hold it up"
    for (case, (_, message)), attempt in zip(BAD.items(), attempts, strict=True):
        run = bench.run(attempt.run_id)
        assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.COLLECTION), case
        assert message in (run.failure_message or ""), case
        assert attempt.state is AttemptState.ENDED, case
    assert count(bench, DataProduct, DataProductPhysicalCopy, QualityMetric) == [2, 2, 1]


def test_complete_outputs_are_registered_with_their_numbers(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    (directory,) = bench.until_written()
    qa('{"good": true, "a": 1, "a_min": 0}', "output/qa/x.json")(directory)
    qa('{"a": 2}', "output/qa/y.json")(directory)
    bench.tick()
    with bench.works.cluster.ops_db.read() as session:
        metrics = {m.name: (m.value, m.minimum, m.maximum) for m in session.scalars(sa.select(QualityMetric))}
        paths = {copy.path for copy in session.scalars(sa.select(DataProductPhysicalCopy))}
    assert metrics == {
        "numbers.letters": (9.0, None, 1000000.0),
        "x.good": (1.0, None, None),
        "x.a": (1.0, 0.0, None),
        "y.a": (2.0, None, None),
    }
    base = bench.works.cluster.base
    assert {base / path for path in paths} == {
        directory / name for name in (TEXT, NUMBERS, "output/qa/x.json", "output/qa/y.json")
    }
    assert all((base / path).is_file() for path in paths)


def test_registering_again_changes_nothing(bench: TickedWorld) -> None:
    bench.declare("a")
    bench.works.request()
    with bench.works.cluster.ops_db.write() as session:
        attempt = start(session, bench.run().id, bench.works.cluster)
        collected = made_up(session, attempt, {"science/text.txt": "a"})
    answers = []
    for seconds in (0, 1):
        bench.works.observatory.clock.pass_seconds(seconds)
        with bench.works.cluster.ops_db.write() as session:
            answers.append(register(session, attempt, bench.run().id, collected, bench.works.observatory.clock()))
    assert answers == [True, False]
    assert count(bench, DataProduct, DataProductPhysicalCopy) == [1, 1]
    assert bench.run().status_changed_at == bench.works.observatory.clock() - timedelta(seconds=1)


def test_what_text_columns_do_not_hold_is_replaced(bench: TickedWorld) -> None:
    bench.declare("a", retries=NO_RETRIES)
    bench.works.request()
    (directory,) = bench.until_written()
    result_with(outcome="launch_failed", exit_code=None, outputs=[], message="a\0b", host="no\0de")(directory)
    bench.tick()
    (attempt,) = bench.attempts()
    assert "a\N{REPLACEMENT CHARACTER}b" in (attempt.failure_message or "")
    assert attempt.host == "no\N{REPLACEMENT CHARACTER}de"


def test_what_ops_db_cannot_hold_fails_its_attempt_alone(bench: TickedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.declare("a", "b", retries=NO_RETRIES)
    bench.works.request()
    bench.until_written()
    insert, calls = collect._insert_copies, []

    def overflow_once(session: Session, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            session.execute(sa.update(DataProduct).values(size_bytes=10**30))
        insert(session, *arguments)

    monkeypatch.setattr(collect, "_insert_copies", overflow_once)
    bench.tick()
    assert bench.statuses() == ["FAILED", "COMPLETED"]
    assert "ops-db cannot hold what it left" in (bench.run().failure_message or "")


def refuse_to_open(patch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let an attempt's result be beyond reach, as on a file server that has been restarted."""
    opened, inode = os.open, directory.stat().st_ino

    def failing(path: Any, *arguments: Any, **named: Any) -> int:
        if path == b"result.json" and os.fstat(named["dir_fd"]).st_ino == inode:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, *arguments, **named)

    patch.setattr(os, "open", failing)


def test_outputs_that_cannot_be_read_now_are_waited_for_and_hold_up_no_other(
    bench: TickedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.declare("a", "b", retries=NO_RETRIES)
    bench.works.request()
    bad, _ = bench.until_written()
    with monkeypatch.context() as patch:
        refuse_to_open(patch, bad)
        for _ in range(3):
            bench.tick(600)
        waiting, other = bench.statuses()
        assert (waiting, other) == ("SUBMITTED", "COMPLETED")
    bench.tick()
    assert bench.statuses() == ["COMPLETED", "COMPLETED"]


def test_outputs_that_cannot_be_read_for_an_hour_fail_their_attempt(
    bench: TickedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.declare("a", retries=NO_RETRIES)
    bench.works.request()
    (bad,) = bench.until_written()
    refuse_to_open(monkeypatch, bad)
    bench.tick()
    bench.tick(3601)
    run = bench.run()
    assert (run.status, run.failure_class) == (RunStatus.FAILED, FailureClass.COLLECTION)
    assert run.failure_message == f"{bad}: [Errno 116] Stale file handle; not to be read for 3601 s"


@pytest.mark.parametrize("place", ["_insert_copies", "_insert_metrics", "ended_well"])
def test_a_crash_while_registering_registers_nothing_and_the_next_tick_everything(
    bench: TickedWorld, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    bench.declare("a")
    bench.works.request()
    bench.until_written()
    before = bench.statuses()

    def die(*_arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(collect, place, die)
        with pytest.raises(MemoryError):
            bench.tick()
    assert bench.statuses() == before
    assert count(bench, DataProduct, DataProductPhysicalCopy, QualityMetric) == [0, 0, 0]
    bench.tick()
    assert bench.statuses() == ["COMPLETED"]
    assert count(bench, DataProduct, DataProductPhysicalCopy, QualityMetric) == [2, 2, 1]
