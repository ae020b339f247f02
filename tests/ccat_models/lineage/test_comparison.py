"""What differs between the origins of two products is named, and nothing else is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ccat_models.lineage.comparison import Comparison, compare
from ccat_models.lineage.upstream import PackagePair, StepCompared
from ccat_models.tables.base import RunId
from resources.ops_db import OpsDb
from tests.support.worlds.lineages import Drawn, fill
from tests.support.worlds.manual import ManualWorld, release, step

pytestmark = pytest.mark.slow

STEPS = (step("read"), step("join", ["source"], depends_on=["read"]))


@pytest.fixture
def works(ops_db: OpsDb, tmp_path: Path) -> ManualWorld:
    """Give two scans of source 1, read and joined."""
    works = ManualWorld.open(ops_db, tmp_path)
    for number in (0, 2):
        works.observatory.scan(number)
    works.declare(*STEPS)
    works.run_all()
    return works


@contextmanager
def compared(works: ManualWorld, left: RunId, right: RunId, most: int | None = None) -> Iterator[Comparison]:
    with works.cluster.ops_db.read() as session:
        yield compare(session, left, right, most=most)


def upstream(**counts: int) -> tuple[StepCompared, ...]:
    names = ("shared", "only_left", "only_right", "replaced", "other_software", "other_parameters", "other_products")
    return (StepCompared("letters", "read", *(counts.get(name, 0) for name in names)),)


def test_a_product_is_the_same_as_itself(works: ManualWorld) -> None:
    join = works.run_of("join", "source-1")
    with compared(works, join, join) as found:
        assert found.same
        assert found.upstream == upstream(shared=2)
        assert (found.inputs.left, found.inputs.right, found.inputs.packages) == (2, 2, ())
        assert (found.software, found.parameters, found.environment, found.execution, found.outputs) == ((),) * 5


def test_a_repeated_run_with_the_same_result_is_the_same(works: ManualWorld) -> None:
    before = works.run_of("join", "source-1")
    works.ask("read", "scan-0", force=True)
    works.complete()
    works.run_all()
    after = works.run_of("join", "source-1")
    assert after != before
    with compared(works, before, after) as found:
        assert found.upstream == upstream(shared=1, replaced=1)
        assert found.same


def test_packages_that_came_changed_and_went_are_named(works: ManualWorld) -> None:
    before = works.run_of("join", "source-1")
    works.observatory.scan(0, "other counts")
    works.observatory.withdraw(2)
    works.observatory.scan(4)
    works.run_all()
    after = works.run_of("join", "source-1")
    with compared(works, before, after) as found:
        assert not found.same
        assert (found.inputs.left, found.inputs.right, found.inputs.differing) == (2, 2, 3)
        changed, gone, new = found.inputs.packages
        assert found.upstream == upstream(replaced=1, only_left=1, only_right=1)
    assert (changed.name, gone.name, new.name) == ("scan-0", "scan-2", "scan-4")
    assert None not in (changed.left, changed.right, gone.left, new.right)
    assert changed.left != changed.right
    assert (gone.right, new.left) == (None, None)
    with compared(works, after, before, most=1) as turned:
        assert turned.inputs.packages == (PackagePair("scan-0", changed.right, changed.left),)
        assert turned.inputs.differing == 3


def test_software_parameters_and_results_are_compared_all_the_way_up(works: ManualWorld) -> None:
    before = works.run_of("join", "source-1")
    works.releases.append(release("1.1.0"))
    changed: dict[str, Any] = {"version": "1.1.0", "version_policy": "pinned", "parameters": {"cell_arcsec": 6}}
    works.declare(step("read", **changed), step("join", ["source"], depends_on=["read"], **changed))
    works.request()
    works.complete(outputs={"science/text.txt": "other text", "science/new.txt": "new"})
    works.run_all()
    after = works.run_of("join", "source-1")
    with compared(works, before, after) as found:
        assert not found.same
        counts = {"replaced": 2, "other_software": 2, "other_parameters": 2, "other_products": 2}
        assert found.upstream == upstream(**counts)
        assert [(pair.name, pair.left, pair.right) for pair in found.software] == [("version", "1.0.0", "1.1.0")]
        assert [(pair.name, pair.left, pair.right) for pair in found.parameters] == [("cell_arcsec", None, 6)]
        assert found.outputs == ()


def test_files_of_either_run_and_those_that_differ_are_listed(works: ManualWorld) -> None:
    before = works.run_of("join", "source-1")
    works.ask("join", "source-1", force=True)
    works.complete(outputs={"science/text.txt": "longer text", "plots/map.png": "png"})
    after = works.run_of("join", "source-1")
    with compared(works, before, after) as found:
        assert not found.same
        sizes = {
            pair.path: tuple(side and side["size_bytes"] for side in (pair.left, pair.right)) for pair in found.outputs
        }
        assert sizes == {"science/text.txt": (4, 11), "plots/map.png": (None, 3)}
        assert [pair.name for pair in found.environment] == []


def test_a_package_that_one_side_read_in_two_states_differs(ops_db: OpsDb) -> None:
    read = {1: frozenset[int](), 2: frozenset[int](), 3: frozenset({1, 2}), 4: frozenset({2})}
    packages = {1: frozenset({1}), 2: frozenset({1}), 3: frozenset[int](), 4: frozenset[int]()}
    for checksum in ("0" * 64, "f" * 64):  # below and above the one that both sides read
        fill(ops_db, Drawn([1, 2], read, packages, [[]] * 4, [1] * 4, {1: checksum, 2: "1" * 64}))
        with ops_db.read() as session:
            found = compare(session, RunId(3), RunId(4)).inputs
        assert (found.left, found.right, found.differing) == (1, 1, 1)
