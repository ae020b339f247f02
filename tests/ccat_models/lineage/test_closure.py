"""Random lineages: what SQL finds is what a plain walk over the links finds, in both directions and page by page."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from ccat_models.lineage import scope
from ccat_models.lineage.closure import ancestor_runs, descendant_runs, lineage_of, packages_read, producers_read
from ccat_models.lineage.impact import impact_by_step, touched_products
from ccat_models.lineage.start import Kind, Start, find_start
from ccat_models.lineage.summary import summary_of
from ccat_models.lineage.validity import Validity
from ccat_models.tables.base import ProductId, RunId
from ccat_models.tables.execution import RunStatus
from resources.ops_db import OpsDb
from tests.support.worlds.lineages import HOSTS, Drawn, fill, runs_of

pytestmark = pytest.mark.slow

GENERATIONS = 1000


@st.composite
def drawn(draw: Callable[[Any], Any]) -> Drawn:
    """Draw up to seven runs of one or two products, each reading some of what came before, and some packages."""
    runs = draw(st.integers(1, 7))
    products = [draw(st.integers(0, 2)) for _ in range(runs)]
    made = [(run, number) for run, count in enumerate(products, start=1) for number in range(count)]
    places = {product: place for place, product in enumerate(made, start=1)}
    read = {
        run: frozenset(draw(st.sets(st.sampled_from(before), max_size=4))) if before else frozenset[int]()
        for run in range(1, runs + 1)
        for before in [[places[product] for product in made if product[0] < run]]
    }
    packages = {run: frozenset(draw(st.sets(st.integers(1, 3), max_size=3))) for run in range(1, runs + 1)}
    hosts = [draw(st.lists(st.sampled_from(HOSTS), max_size=2)) for _ in range(runs)]
    return Drawn([run for run, _ in made], read, packages, hosts, [draw(st.integers(1, 2)) for _ in range(runs)])


@dataclass
class Plain:
    """The same questions answered by walking."""

    drawn: Drawn

    def producers(self, run: int) -> set[int]:
        return {self.drawn.maker(product) for product in self.drawn.read[run]}

    def readers(self, run: int) -> set[int]:
        return {reader for reader in self.drawn.read if run in self.producers(reader)}

    def back(self, run: int) -> set[int]:
        return walk({run}, self.producers)

    def touched(self, kind: Kind, key: int | str) -> set[int]:
        return walk(self.first(kind, key), self.readers)

    def first(self, kind: Kind, key: int | str) -> set[int]:
        runs = self.drawn.read
        tests: dict[Kind, Callable[[int], bool]] = {
            Kind.RUN: lambda run: run == key,
            Kind.PRODUCT: lambda run: key in runs[run],
            Kind.PACKAGE: lambda run: key in self.drawn.packages[run],
            Kind.NODE: lambda run: self.drawn.hosts[run - 1][-1:] == [key],
            Kind.SOFTWARE: lambda run: self.drawn.ways[run - 1] == key,
            Kind.CONFIG: lambda run: self.drawn.ways[run - 1] == key,
        }
        return {run for run in runs if tests[kind](run)}


def walk(first: Iterable[int], near: Callable[[int], AbstractSet[int]]) -> set[int]:
    found, waiting = set(first), list(first)
    while waiting:
        new = near(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def starts(drawn: Drawn) -> Iterator[Start]:
    keys: Mapping[Kind, Iterable[int]] = {
        Kind.RUN: drawn.read,
        Kind.PRODUCT: range(1, len(drawn.makers) + 1),
        Kind.PACKAGE: (1, 2, 3),
        Kind.SOFTWARE: (1, 2),
        Kind.CONFIG: (1, 2),
    }
    for kind, numbers in keys.items():
        yield from (Start(kind, str(number), (number,)) for number in numbers)
    yield from (Start(Kind.NODE, host) for host in HOSTS)


def paged(page: Callable[..., Iterable[Any]]) -> list[int]:
    """Return what pages give, one after the other."""
    found, last = list[int](), None
    while rows := [row.id for row in page(after=last, limit=2)]:
        assert last is None or last < rows[0]
        found += rows
        last = rows[-1]
    return found


def packages_by_page(session: Session, run: RunId) -> list[tuple[int, int]]:
    found, last = list[tuple[int, int]](), None
    while rows := list(packages_read(session, run, after=last, limit=2)):
        assert last is None or last < (rows[0][0], rows[0][1].name)
        found += [(reader, package.id) for reader, package in rows]
        last = (rows[-1][0], rows[-1][1].name)
    return found


def check(session: Session, drawn: Drawn) -> None:
    plain = Plain(drawn)
    for run in map(RunId, drawn.read):
        back = sorted(plain.back(run))
        assert [node.id for node in ancestor_runs(session, run)] == back
        assert paged(partial(ancestor_runs, session, run)) == back
        read = sorted((reader, package.id) for reader, package in packages_read(session, run))
        assert read == sorted((reader, package) for reader in back for package in drawn.packages[reader])
        assert packages_by_page(session, run) == read
        links = {reader: tuple(sorted(plain.producers(reader))) for reader in back if plain.producers(reader)}
        assert dict(producers_read(session, run)) == links
        found = lineage_of(session, run)
        assert (sorted(found.runs), dict(found.producers)) == (back, links)
        summary = summary_of(session, run)
        assert summary.runs == len(back)
        assert summary.packages == len({package for _, package in read})
        assert sum(link.products for link in summary.links) == sum(len(drawn.read[reader]) for reader in back)
    for start in starts(drawn):
        touched = plain.touched(start.kind, start.ids[0] if start.ids else start.name)
        assert {node.id for node in descendant_runs(session, start)} == touched
        assert paged(partial(descendant_runs, session, start)) == sorted(touched)
        products = [number for number, maker in enumerate(drawn.makers, start=1) if maker in touched]
        assert [product.id for product in touched_products(session, start)] == products
        assert paged(partial(touched_products, session, start)) == products
        assert sum(step.runs for step in impact_by_step(session, start)) == len(touched)


@settings(
    max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
)
@given(drawn=drawn(), few=st.sampled_from([0, 500]))
def test_sql_finds_what_a_plain_walk_finds(ops_db: OpsDb, drawn: Drawn, few: int) -> None:
    fill(ops_db, drawn)
    with pytest.MonkeyPatch.context() as patched, ops_db.read() as session:
        patched.setattr(scope, "FEW", few)  # runs asked for by number, or followed by the database
        check(session, drawn)


def test_a_thousand_generations_are_followed_both_ways(ops_db: OpsDb) -> None:
    read = {run: frozenset({run - 1} if run > 1 else ()) for run in range(1, GENERATIONS + 1)}
    packages = defaultdict[int, frozenset[int]](frozenset, {1: frozenset({1})})
    fill(ops_db, Drawn(list(range(1, GENERATIONS + 1)), read, packages, [[]] * GENERATIONS, [1] * GENERATIONS))
    last = RunId(GENERATIONS)
    with ops_db.read() as session:
        assert [run.id for run in ancestor_runs(session, last)] == list(range(1, GENERATIONS + 1))
        assert len(lineage_of(session, last).runs) == GENERATIONS
        assert sum(1 for _ in descendant_runs(session, Start(Kind.PACKAGE, "package-1", (1,)))) == GENERATIONS
        nearest = sorted(lineage_of(session, last, most=2).runs)
    assert nearest == list(range(GENERATIONS - scope.FEW + 1, GENERATIONS + 1))


def test_a_lineage_cut_short_counts_what_it_does_not_list(ops_db: OpsDb) -> None:
    sources = frozenset(range(1, 31))
    read = {run: frozenset[int]() for run in sources} | {31: sources}
    packages = dict.fromkeys(read, frozenset[int]()) | {1: frozenset({1, 2, 3})}
    fill(ops_db, Drawn([*range(1, 32)], read, packages, [[]] * 31, [1] * 31))
    with ops_db.read() as session:
        found = lineage_of(session, RunId(31), most=2)
    assert found.producers[RunId(31)] == (1, 2)
    assert found.producer_counts[RunId(31)] == 30
    assert [package.name for package in found.packages[RunId(1)]] == ["package-1", "package-2"]
    assert found.package_counts[RunId(1)] == 3
    (first, _) = found.packages[RunId(1)]
    assert ([file.path for file in first.files], first.file_count) == (["file-0", "file-1"], 4)


def test_a_node_in_a_lineage_says_how_it_was_done_and_for_whom(ops_db: OpsDb) -> None:
    fill(ops_db, Drawn([1, 2], {1: frozenset(), 2: frozenset({1})}, {1: frozenset(), 2: frozenset()}, [[], []], [1, 2]))
    with ops_db.read() as session:
        first, second = ancestor_runs(session, RunId(2))
        of_run = dict(session.execute(sa.select(runs_of.c.id, runs_of.c.requested_by)).tuples().all())
    assert (first.status, first.requested_by, first.revision) == (RunStatus.COMPLETED, of_run[1], 1)
    assert (first.version, second.version) == ("1.0.0", "1.0.1")
    assert (first.config_hash, second.config_hash) == ("1" * 64, "2" * 64)
    assert first.created_at.utcoffset() is not None


NAMED = [
    ("package-2", Kind.PACKAGE, (2,)),
    ("package:package-2", Kind.PACKAGE, (2,)),
    ("1", Kind.PRODUCT, (1,)),
    ("product:2", Kind.PRODUCT, (2,)),
    ("pipeline/step/cell-2/product-2", Kind.PRODUCT, (2,)),
    ("pipeline/step/cell-2", Kind.RUN, (2,)),
    ("run:2", Kind.RUN, (2,)),
    ("software:letters", Kind.SOFTWARE, (1, 2)),
    ("software:letters=1.0.1", Kind.SOFTWARE, (2,)),
    ("config:22", Kind.CONFIG, (2,)),
    (f"config:{'1' * 64}", Kind.CONFIG, (1,)),
    ("node:node-a", Kind.NODE, ()),
]


def test_things_are_known_by_name_by_number_and_by_prefix(ops_db: OpsDb) -> None:
    read = {1: frozenset[int](), 2: frozenset({1})}
    fill(ops_db, Drawn([1, 2], read, {1: frozenset({1}), 2: frozenset()}, [["node-a"], []], [1, 2]))
    with ops_db.read() as session:
        found = {text: find_start(session, text) for text, _, _ in NAMED}
    assert {text: (start.kind, start.ids) for text, start in found.items()} == {
        text: (kind, ids) for text, kind, ids in NAMED
    }
    assert found["node:node-a"].name == "node-a"


def test_a_product_is_superseded_once_its_sub_group_has_a_newer_one(ops_db: OpsDb) -> None:
    runs = {run: frozenset[int]() for run in (1, 2, 3)}
    packages = dict.fromkeys(runs, frozenset({1}))
    fill(ops_db, Drawn([1, 2, 3], runs, packages, [[]] * 3, [1] * 3), cells=[1, 2, 1])
    package = Start(Kind.PACKAGE, "package-1", (1,))
    with ops_db.read() as session:
        (step,) = impact_by_step(session, package)
        found = {product.id: product.validity for product in touched_products(session, package)}
    assert (step.runs, step.current_products, step.superseded_products, step.products) == (3, 2, 1, 3)
    assert found == {
        ProductId(1): Validity.SUPERSEDED,
        ProductId(2): Validity.CURRENT,
        ProductId(3): Validity.CURRENT,
    }
