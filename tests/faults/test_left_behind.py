"""What an attempt may leave behind, by its own doing or another's: each has its class, and nothing outside is touched."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccat_models.tables.execution import Attempt, FailureClass
from ccat_models.tables.products import DataProduct
from resources.ops_db import OpsDb
from tests.support.faults.fault_checks import Trial
from tests.support.faults.fault_table import FaultTable
from tests.support.worlds.manual import NO_RETRIES, ManualWorld
from tests.support.worlds.ticked import TickedWorld

TEXT = "output/science/text.txt"
MANY = 10_000
STRANGE = "$(touch x)\n; rm -rf *.txt"

# Does as its input says, in its own output.
PROGRAM = """
import json, os, pathlib, sys
manifest = json.loads(pathlib.Path(os.environ["WORKFLOW_MANIFEST"]).read_text())
source = manifest["inputs"][0]
what = (pathlib.Path(source["path"]) / source["files"][0]["path"]).read_text().split()[1]
with open(manifest["parameters"]["calls"], "a") as calls:
    calls.write(f'read {manifest["sub_group"]["key"]} {manifest["run"]["attempt"]}\\n')
science = pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"], "science")
science.mkdir()
(science / "text.txt").write_text(what)
if what == "link":
    (science / "outside").symlink_to("/etc/passwd")
elif what == "directory-link":
    (science / "outside").symlink_to(pathlib.Path(os.environ["WORKFLOW_OUTPUT_DIR"]).parents[5], True)
elif what == "upwards":
    (science / "upwards").symlink_to("../../../../../..")
elif what == "inner-link":
    (science / "again").symlink_to("text.txt")
elif what == "fifo":
    os.mkfifo(science / "pipe")
elif what == "socket":
    import socket
    os.chdir(science)
    socket.socket(socket.AF_UNIX).bind("socket")
elif what == "strange":
    (science / STRANGE).write_text("strange")
elif what == "undecodable":
    pathlib.Path(os.fsdecode(os.fsencode(science) + b"/\\xff")).write_text("")
elif what == "many":
    for number in range(MANY):
        (science / f"{number}").write_text(str(number))
elif what == "unreadable":
    (science / "closed").mkdir()
    (science / "closed" / "file").write_text("secret")
    (science / "closed").chmod(0)
elif what == "sparse":
    with open(science / "sparse", "wb") as file:
        file.truncate(100_000_000)
elif what == "deep":
    deep = science
    for number in range(60):
        deep = deep / "deeper-and-deeper"
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
"""


@dataclass(frozen=True)
class Case:
    """The outcome of an attempt: its failure's class and message, or the number of its products."""

    failure: FailureClass | None
    says: str = ""
    products: int = 0
    spoil: Callable[[Path], object] | None = None  # after the program has ended, before it is collected


def change(**values: object) -> Callable[[Path], object]:
    """Return what writes a result.json that says something else."""

    def spoil(directory: Path) -> None:
        result = json.loads((directory / "result.json").read_text())
        (directory / "result.json").write_text(json.dumps(result | values))

    return spoil


def claim_another(directory: Path) -> None:
    result = json.loads((directory / "result.json").read_text())
    result["outputs"][0]["sha256"] = hashlib.sha256(b"another").hexdigest()
    (directory / "result.json").write_text(json.dumps(result))


def reach_outside(directory: Path) -> None:
    result = json.loads((directory / "result.json").read_text())
    result["outputs"][0]["path"] = "output/../../../../../../neighbour.txt"
    (directory / "result.json").write_text(json.dumps(result))


def swap_for_link(directory: Path) -> None:
    (directory / TEXT).unlink()
    (directory / TEXT).symlink_to(directory.parents[4] / "neighbour.txt")


def swap_for_pipe(directory: Path) -> None:
    (directory / TEXT).unlink()
    os.mkfifo(directory / TEXT)


def link_result(directory: Path) -> None:
    (directory / "result.json").rename(directory / "elsewhere")
    (directory / "result.json").symlink_to("elsewhere")


def truncate(directory: Path) -> None:
    text = (directory / "result.json").read_bytes()
    (directory / "result.json").write_bytes(text[: len(text) // 2])


def blow_up(directory: Path) -> None:
    with (directory / "result.json").open("a") as file:
        file.write(" " * (17 << 20))


def alter(directory: Path) -> None:
    (directory / TEXT).write_text((directory / TEXT).read_text().upper())


COLLECTION, LOST, SCIENCE = FailureClass.COLLECTION, FailureClass.LOST, FailureClass.SCIENCE
CASES: Mapping[str, Case] = {
    "plain": Case(None, products=1),
    "no-result": Case(LOST, "it had begun", spoil=lambda directory: (directory / "result.json").unlink()),
    "half-result": Case(COLLECTION, "result.json", spoil=truncate),
    "empty-result": Case(COLLECTION, "result.json", spoil=lambda directory: (directory / "result.json").write_text("")),
    "other-key": Case(COLLECTION, "is of submission key", spoil=change(submission_key="0" * 32)),
    "other-checksum": Case(COLLECTION, "its checksum is not", spoil=claim_another),
    "huge-result": Case(COLLECTION, "more than 16777216 bytes", spoil=blow_up),
    "linked-result": Case(COLLECTION, "not a regular file", spoil=link_result),
    "path-outside": Case(COLLECTION, "path", spoil=reach_outside),
    "changed-later": Case(COLLECTION, "its checksum is not", spoil=alter),
    "link-later": Case(COLLECTION, "not a regular file", spoil=swap_for_link),
    "pipe-later": Case(COLLECTION, "not a regular file", spoil=swap_for_pipe),
    "other-outcome": Case(COLLECTION, "result.json", spoil=change(outcome="splendid")),
    "link": Case(SCIENCE, "points outside of the attempt's directory"),
    "directory-link": Case(SCIENCE, "points outside of the attempt's directory"),
    "upwards": Case(SCIENCE, "points outside of the attempt's directory"),
    "inner-link": Case(None, products=1),
    "fifo": Case(None, products=1),
    "socket": Case(None, products=1),
    "strange": Case(None, products=2),
    "undecodable": Case(SCIENCE, "is not UTF-8"),
    "many": Case(None, products=1 + MANY),
    "unreadable": Case(None, products=2) if os.geteuid() == 0 else Case(SCIENCE, "outputs not collected"),
    "sparse": Case(None, products=2),
    "deep": Case(COLLECTION, "a path of more than 500 characters"),
}


@pytest.fixture
def bench(sqlite_ops_db: OpsDb, tmp_path: Path) -> TickedWorld:
    works = ManualWorld.open(sqlite_ops_db, tmp_path / "lab")
    program = PROGRAM.replace("STRANGE", repr(STRANGE)).replace("MANY", str(MANY))
    (works.code / "reduce.py").write_text(program)
    return TickedWorld(works, slots=2)


@pytest.mark.slow
def test_whatever_is_left_behind_is_believed_only_as_far_as_it_can_be(
    bench: TickedWorld, fault_table: FaultTable
) -> None:
    bench = TickedWorld(bench.works, slots=len(CASES))
    bench.declare(*CASES, retries=NO_RETRIES)
    trial = Trial.of_bench(bench)
    directories = bench.until_written()
    for case, directory in zip(CASES.values(), directories, strict=True):
        if case.spoil is not None:
            case.spoil(directory)
    bench.until_ended()
    good = sum(case.failure is None for case in CASES.values())
    statuses = {"COMPLETED": good, "FAILED": len(CASES) - good}
    trial.judge(fault_table, "left behind", statuses, tried=len(CASES) - 1)
    products = count_products(bench)
    for (name, case), attempt in zip(CASES.items(), trial.attempts().values(), strict=True):
        found = attempt.failure_class, products.get(attempt.run_id, 0)
        assert found == (case.failure, case.products), (name, attempt.failure_message)
        assert case.says in (attempt.failure_message or ""), name


def count_products(bench: TickedWorld) -> dict[int, int]:
    """Return how many products each run has."""
    query = sa.select(DataProduct.run_id, sa.func.count()).group_by(DataProduct.run_id)
    with bench.works.cluster.ops_db.read() as session:
        return {int(run): number for run, number in session.execute(query).tuples().all()}


def test_a_name_of_an_output_is_kept_to_the_letter(bench: TickedWorld) -> None:
    bench.declare("strange")
    bench.works.request()
    assert bench.until_ended() == ["COMPLETED"]
    with bench.works.cluster.ops_db.read() as session:
        attempt = session.scalars(sa.select(Attempt)).one()
        paths = set(session.scalars(sa.select(DataProduct.path)))
    assert paths == {"science/text.txt", f"science/{STRANGE}"}
    assert list(Path(str(attempt.directory)).rglob("x")) == []
