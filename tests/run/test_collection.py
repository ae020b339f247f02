"""What was left behind is believed only as far as it can be checked."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.product import collect
from ccat_models.product.collect import register
from ccat_models.tables.execution import AttemptState, FailureClass, RunStatus
from ccat_models.tables.places import DataProductPhysicalCopy
from ccat_models.tables.products import DataProduct, QualityMetric
from tests.run.bench import Bench
from tests.support.works import made_up, start

TEXT = "output/science/text.txt"
NUMBERS = "output/qa/numbers.json"


def count(bench: Bench, *tables: type) -> list[int]:
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


def test_what_cannot_be_believed_is_not_registered(bench: Bench) -> None:
    bench = Bench(bench.works, slots=len(BAD) + 1)
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


def test_what_is_whole_is_registered_with_its_numbers(bench: Bench) -> None:
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


def test_registering_again_changes_nothing(bench: Bench) -> None:
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


@pytest.mark.parametrize("place", ["_insert_copies", "_insert_metrics", "ended_well"])
def test_a_death_while_registering_registers_nothing_and_the_next_tick_everything(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
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
