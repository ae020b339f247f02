"""The provenance record: everything that happened, and nothing that must not leave the house."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.errors import InvalidDeclaration, NotFound, Refused
from ccat_models.fingerprint import files_checksum
from ccat_models.lineage import record_reading
from ccat_models.lineage.record import ProvenanceRecord, ScopeKind
from ccat_models.lineage.record_reading import read_in_chunks, read_record
from ccat_models.lineage.record_scope import find_scope
from ccat_models.lineage.redaction import Redaction
from ccat_models.tables.execution import FailureClass, RunStatus
from ccat_models.tables.places import DataProductPhysicalCopy, PhysicalCopyStatus
from resources.ops_db import OpsDb
from tests.support.parts.ops_db import empty
from tests.support.worlds.manual import ManualWorld, step
from tests.support.worlds.provenance import SECRET, EventfulWorld, eventful


@pytest.fixture(scope="module")
def happened(shared_ops_db: OpsDb, tmp_path_factory: pytest.TempPathFactory) -> EventfulWorld:
    """Give a history in which everything happened; to look at, not to change."""
    empty(shared_ops_db)
    return eventful(shared_ops_db, tmp_path_factory.mktemp("eventful"))


def test_a_products_record_has_its_whole_history(happened: EventfulWorld) -> None:
    record = happened.record("letters/map/all")
    statuses = {run.id: run.status for run in record.runs.values()}
    assert statuses[happened.cancelled] is RunStatus.CANCELLED
    assert statuses[happened.failed] is RunStatus.FAILED
    assert list(statuses) == sorted(statuses)
    assert set(statuses) == all_runs(happened), "all that was done for this map"
    run_id, number = happened.failed_attempt
    first, second = record.runs[run_id].attempts
    assert (first.number, first.failure_class, first.evidence) == (
        number,
        FailureClass.INFRASTRUCTURE,
        {"node": "node-7"},
    )
    assert (second.failure_class, second.exit_code, second.host) == (None, 0, "here")
    assert record.runs[happened.cancelled].cancel_requested_by == "test"
    failed = record.runs[happened.failed]
    assert (failed.failure_class, failed.failure_message, failed.requested_by) == (
        FailureClass.SCIENCE,
        "made up",
        "cleo",
    )
    assert [change.after for change in failed.history][-1] == "FAILED"
    (newest,) = [one for one in record.made_by(happened.newest) if one.path.startswith("science")]
    (old,) = record.made_by(happened.superseded)
    assert (old.superseded_by, newest.superseded_by) == (newest.id, None)
    assert (newest.name, newest.location, newest.purged) == ("letters/map/all/science/text.txt", "local", False)


def test_reviews_and_their_people_are_in_the_record(happened: EventfulWorld) -> None:
    record = happened.record("letters/map/all")
    checks = [check for run in record.runs.values() for check in run.checks]
    assert {(check.value, check.passed) for check in checks} == {(0.5, True), (2.0, False), (0.25, True)}
    (waiver,) = [check.waiver for check in checks if check.waiver]
    assert (waiver.waived_by, waiver.reason) == ("ada", "a bright line")
    lifted, standing = record.taints.values()
    assert (lifted.lifted_by, standing.lifted_by) == ("ben", None)
    assert [package.name for package in record.contents_of(standing.package_id)] == ["scan-1"]
    assert set(record.runs[happened.newest].taints) == {standing.id}
    assert record.people == ("ada", "ben", "cleo", "test")


def test_steps_software_and_parameters_are_in_the_record(happened: EventfulWorld) -> None:
    record = happened.record("letters/map/all")
    (read,) = [one for one in record.steps.values() if one.step == "read"]
    assert (read.pipeline, read.revision, read.applied_by, read.upstreams) == ("letters", 1, "test", ())
    (joined,) = [one for one in record.steps.values() if one.step == "map"]
    assert joined.upstreams == ("read",)
    (software,) = record.software.values()
    assert (software.name, software.version, software.image_reference) == ("letters", "1.0.0", None)
    assert software.code_sha256
    assert {"depth": 3} in [config.parameters for config in record.configs.values()]
    assert {file.path for package in record.packages.values() for file in package.files} == {"scan.dat"}
    first, newest = happened.failed_attempt[0], happened.newest
    (read_first,) = record.runs[first].packages
    old, new = sorted(record.contents_of(read_first.package_id), key=lambda one: one.replaced_by is None)
    assert (old.checksum, old.replaced_by) == (read_first.checksum, new.checksum), "the scan was replaced since"
    assert old.checksum == files_checksum({file.path: file.sha256 for file in old.files})
    assert new.checksum == files_checksum({file.path: file.sha256 for file in new.files})
    assert old.files[0].id != new.files[0].id
    assert {record.products[link.product_id].sha256 for link in record.runs[newest].products} == {
        link.sha256 for link in record.runs[newest].products
    }


def test_secrets_and_paths_stay_in_the_house(happened: EventfulWorld) -> None:
    text = repr(happened.record("pipeline:letters"))
    assert SECRET not in text
    assert str(happened.works.cluster.base) not in text
    assert "no file {local}/x; https://host/path" in text


def test_redaction_replaces_the_longest_path_first() -> None:
    redaction = Redaction({"/data/run": "runs", "/data": "disk"})
    assert redaction.of("/data/run/1 /data/2") == "{runs}/1 {disk}/2"
    assert redaction.of("docker://ada:sesame@registry/image") == "docker://registry/image"


def test_a_run_alone_and_a_pipeline(happened: EventfulWorld) -> None:
    alone = happened.record(f"run:{happened.newest}")
    assert list(alone.runs) == [happened.newest]
    assert alone.scope.kind is ScopeKind.RUN
    assert {link.product_id for link in alone.runs[happened.newest].products} < set(alone.products)
    assert set(happened.record("pipeline:letters").runs) == all_runs(happened)
    product = alone.made_by(happened.newest)[0]
    assert happened.record(str(product.id)).scope.product_id == product.id


def test_a_pipeline_can_be_read_in_parts(happened: EventfulWorld) -> None:
    with happened.works.cluster.ops_db.read() as session:
        scope = find_scope(session, "pipeline:letters")
        parts = list(read_in_chunks(session, scope, 2))
        whole = read_record(session, scope)
    assert [len(part.runs) for part in parts] == [2, 2, 2, 1]
    assert {number: run for part in parts for number, run in part.runs.items()} == whole.runs
    assert {number: one for part in parts for number, one in part.products.items()} == whole.products


def test_too_many_runs_for_a_document_are_refused(happened: EventfulWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_reading, "MOST_RUNS", 6)
    with pytest.raises(Refused, match=r"pipeline letters: has more than 6 runs.*openlineage"):
        happened.record("pipeline:letters")


def test_too_many_things_for_a_document_are_counted_before_they_are_read(
    happened: EventfulWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops_db = happened.works.cluster.ops_db
    record = read(ops_db, "letters/map/all")
    numbers = [len(record.runs), len(record.products), len(record.packages)]
    numbers.append(sum(len(package.files) for package in record.packages.values()))
    monkeypatch.setattr(record_reading, "MOST_THINGS", sum(numbers))
    assert read(ops_db, "letters/map/all") == record
    monkeypatch.setattr(record_reading, "MOST_THINGS", sum(numbers) - 1)
    counts = "{} runs, {} products, {} packages, {} raw files".format(*numbers)
    with statements(ops_db) as said, pytest.raises(Refused) as refusal:
        read(ops_db, "letters/map/all")
    limit = f"has {sum(numbers)} entries ({counts}), more than {sum(numbers) - 1}, too many for one document"
    assert limit in str(refusal.value)
    assert "its runs one by one (run:ID), or the format openlineage" in str(refusal.value)
    assert sum("count(*)" in one for one in said) == 3
    assert "FROM attempt" not in "".join(said)
    monkeypatch.setattr(record_reading, "MOST_THINGS", 1)
    with pytest.raises(Refused, match=r"run \d+: has .* entries .*: export the format openlineage"):
        read(ops_db, f"run:{happened.newest}")
    with ops_db.read() as session:
        (part,) = read_in_chunks(session, find_scope(session, f"run:{happened.newest}"))
    assert list(part.runs) == [happened.newest]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("run:x", InvalidDeclaration, "run:x: a run is known by its number"),
        ("run:999", NotFound, "no run '999'; known: 7, 6"),
        ("run:9999999999999999999999", NotFound, "no run '9999999999999999999999'; known: 7, 6"),
        ("pipeline:words", NotFound, "no pipeline 'words'; known: letters"),
        ("letters/nothing", NotFound, "no product"),
        ("999", NotFound, "no product '999'"),
    ],
)
def test_a_name_that_nothing_answers_to(
    happened: EventfulWorld, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        happened.record(text)


def test_purged_files_are_recorded_as_purged(happened: EventfulWorld) -> None:
    (product,) = happened.record("letters/map/all").made_by(happened.superseded)
    with happened.works.cluster.ops_db.read() as session:  # which forgets this change
        gone = sa.update(DataProductPhysicalCopy).where(DataProductPhysicalCopy.data_product_id == product.id)
        session.execute(gone.values(status=PhysicalCopyStatus.DELETED))
        product_record = read_record(session, find_scope(session, "letters/map/all")).products[product.id]
    assert (product_record.purged, product_record.location, product_record.sha256) == (True, None, product.sha256)


def test_a_larger_lineage_takes_no_more_statements(sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    works.declare(step("read"), step("map", [], depends_on=["read"]))
    counts = []
    for scans in (range(2), range(2, 12)):
        for number in scans:
            works.observatory.scan(number)
        works.run_all()
        with statements(sqlite_ops_db) as said:
            record = read(sqlite_ops_db, "letters/map/all")
        counts.append((len(record.runs), len(said)))
    assert [runs for runs, _ in counts] == [3, 14]
    assert counts[0][1] == counts[1][1]


def read(ops_db: OpsDb, text: str) -> ProvenanceRecord:
    with ops_db.read() as session:
        return read_record(session, find_scope(session, text))


def all_runs(happened: EventfulWorld) -> set[int]:
    return set(range(1, happened.newest + 1))


@contextmanager
def statements(ops_db: OpsDb) -> Iterator[list[str]]:
    said: list[str] = []

    def note(*arguments: Any) -> None:
        said.append(arguments[2])

    sa.event.listen(ops_db.engine, "before_cursor_execute", note)
    yield said
    sa.event.remove(ops_db.engine, "before_cursor_execute", note)
