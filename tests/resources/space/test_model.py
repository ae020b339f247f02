"""Random histories of purging and regenerating products: what is needed exists, nothing is done twice."""

import gc
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.space import SpaceState
from resources.ops_db import OpsDb
from tests.ccat_models.gap.test_properties import check_look
from tests.resources.space.model import BORDERS, DAY_SECONDS, GRAPHS, RETENTIONS, World
from tests.resources.space.model_rows import Rows, check_accounts, check_choice, check_new, check_rest, lasting
from tests.support.parts.ops_db import empty
from tests.support.worlds.letters import ALL
from tests.support.worlds.manual import ManualWorld, release

LONGER = int(os.environ.get("SPACE_MODEL_LIVES", "0"))  # noqa: TID251 - so many lives more, in the night
LIVES, STEPS_A_LIFE = 62, 200
NUMBERS = range(12)
STEPS = range(3)
AMOUNTS = (1, 100, 200, 400, ALL, ALL)
HOW = ("same", "same", "same", "other", "less", "more")
BADLY = (*FailureClass, FailureClass.SCIENCE, FailureClass.INFRASTRUCTURE, True, False)
MEANWHILE = ("", "", "finish", "purge", "run_round", "begin", "complete")
Event = tuple[Any, ...]
# What may happen, how often compared with the others, and with which values.
EVENTS: dict[str, tuple[int, tuple[Sequence[Any], ...]]] = {
    "scan": (12, (range(4), ("counts", "counts", "others"))),
    "withdraw": (3, (NUMBERS,)),
    "lose_raw": (4, (range(4),)),
    "find_raw": (20, (range(4),)),
    "declare": (6, (STEPS, range(2), RETENTIONS, "ckkr")),
    "wait": (120, (range(3),)),
    "pin": (30, (NUMBERS,)),
    "unpin": (140, (NUMBERS,)),
    "doubt": (10, (NUMBERS,)),
    "verify": (100, (NUMBERS,)),
    "archive": (100, (NUMBERS,)),
    "run_round": (45, ()),
    "ensure": (8, (STEPS, ("", "force", "force", "retry"))),
    "begin": (40, (NUMBERS,)),
    "complete": (100, (NUMBERS, HOW)),
    "complete_some": (30, (range(1, 6),)),
    "end_badly": (12, (NUMBERS, BADLY)),
    "purge": (55, (AMOUNTS, BORDERS, MEANWHILE, NUMBERS)),
    "purge_in_part": (8, (BORDERS, (True, False))),
    "finish": (60, ()),
    "regenerate": (20, (NUMBERS,)),
    "regenerate_and_complete": (60, (NUMBERS, HOW)),
    "rest": (5, ((True, False),)),
}


def events(life: int) -> tuple[str, list[Event]]:
    """Return the graph of a history and its events, the same every time."""
    dice = random.Random(life)
    names = dice.choices(list(EVENTS), [weight for weight, _ in EVENTS.values()], k=STEPS_A_LIFE)
    return dice.choice(list(GRAPHS)), [(name, *map(dice.choice, EVENTS[name][-1])) for name in names]


class Life:
    """One history: each event calls the project's own code, and all invariants must hold after it."""

    def __init__(self, ops_db: OpsDb, base: Path, graph: str) -> None:
        empty(ops_db)
        self.ops_db = ops_db
        self.world = World.open(ManualWorld.open(ops_db, base), graph)
        self.lasting: set[tuple[Any, ...]] = set()
        self.newest = RunId(0)
        self.done = Counter[str]()

    def live(self, events: Sequence[Event]) -> None:
        """Let all of this happen, and come to rest."""
        for number, event in enumerate([*events, ("rest", True)]):
            try:
                self.happen(event)
            except Exception as error:
                error.add_note(f"in a life of a {self.world.graph}: {list(events[: number + 1])}")
                raise

    def happen(self, event: Event) -> None:
        """Let one thing happen, and compare the accounts with the disk."""
        name, *values = event
        getattr(self, name)(*values)
        with self.ops_db.read() as session:
            check_accounts(session, self.world.cluster.base)
        self.done["events"] += 1

    # What comes from outside

    def scan(self, number: int, content: str) -> None:
        self.world.scan(number, content)

    def withdraw(self, number: int) -> None:
        if self.world.scans:
            self.world.withdraw(sorted(self.world.scans)[number % len(self.world.scans)])

    def lose_raw(self, number: int) -> None:
        self.world.have_raw(number, there=False)

    def find_raw(self, number: int) -> None:
        self.world.have_raw(number, there=True)

    def declare(self, which: int, cell: int, keep: str, new: str) -> None:
        name = self._step(which)
        if new == "c":
            self.world.cells[name] = cell
        elif new == "r":
            self.world.works.releases.append(release(f"1.0.{len(self.world.works.releases)}"))
        elif keep != "while_needed" or name != self._step(-1):
            self.world.retentions[name] = keep
        self.world.declare()

    def wait(self, days: int) -> None:
        self.world.wait(1 + days * DAY_SECONDS)

    def pin(self, number: int) -> None:
        for run in self._one(SpaceState.PRESENT, number):
            self.world.pin(run)

    def unpin(self, number: int) -> None:
        for run in self._one(SpaceState.PRESENT, number):
            self.world.unpin(run)

    def doubt(self, number: int) -> None:
        for run in self._one(SpaceState.PRESENT, number):
            self.world.doubt(run, verified=False)

    def verify(self, number: int) -> None:
        for run in self._one(SpaceState.PRESENT, number):
            self.world.doubt(run, verified=True)

    def archive(self, number: int) -> None:
        for run in self._one(SpaceState.PRESENT, number):
            self.world.archive(run)

    # Runs

    def run_round(self) -> int:
        created = self.world.run_round()
        self._check_new(standing=True)
        return created

    def ensure(self, which: int, how: str) -> None:
        self.world.ensure(self._step(which), **({how: True} if how else {}))
        self._check_new(standing=False)

    def begin(self, number: int) -> None:
        for run in self._flying(number):
            self.world.begin(run)

    def complete(self, number: int, how: str) -> None:
        for run in self._flying(number):
            self._complete(run, how)

    def complete_some(self, most: int) -> None:
        for run in self.world.flying()[:most]:
            self._complete(run, "same")

    def end_badly(self, number: int, how: FailureClass | bool) -> None:
        """Let a run fail with a class, or be cancelled: at once, or if it runs, later."""
        for run in self._flying(number):
            if isinstance(how, bool):
                self.world.cancel(run, on_progress=how)
            else:
                self.world.fail(run, how)

    # Space

    def purge(self, wanted: int, border: str, meanwhile: str, number: int) -> None:
        freed = self.world.purge(wanted, self._passing(wanted, border, meanwhile, number))
        self.done["purges"] += freed.freed_runs > 0
        self.done["runs purged"] += freed.freed_runs
        if freed.purge_id is None:
            check_choice(self._rows(), wanted)

    def purge_in_part(self, border: str, busy: bool) -> None:
        if busy:
            self.world.purge_busy(self._passing(ALL))
        else:
            self.world.purge_dying(border, self._passing(ALL))

    def finish(self) -> None:
        self.world.finish()

    def regenerate(self, number: int) -> None:
        for run in self._one(SpaceState.PURGED, number):
            self.world.regenerate(run)
            self._check_new(standing=False)

    def regenerate_and_complete(self, number: int, how: str) -> None:
        """Regenerate a run's products: this succeeds unless their inputs are gone or it has failed before.

        Where nothing was purged, that is done first.
        """
        if not self._one(SpaceState.PURGED, number):
            self.purge(ALL, "", "", 0)
        for run in self._one(SpaceState.PURGED, number):
            self.world.finish()
            rows = self._rows()
            excused = rows.is_spent(run) or not rows.can_be_made(run)
            while self.world.regenerate(run) or self.world.flying():  # of a sub-group, one run is in flight at a time
                self._check_new(standing=False)
                for flying in self.world.flying():
                    self._complete(flying, how)
            state = self._rows().state(run)
            assert excused or state in (SpaceState.PRESENT, SpaceState.REPLACED), (run, state)
            self.done["runs regenerated"] += not excused

    def rest(self, then_purge: bool) -> None:
        """Do all that can be done; a purge causes no runs then."""
        self.world.finish()
        for _ in range(30):
            if not self.run_round() and not self.world.flying():
                break
            for run in self.world.flying():
                self._complete(run, "same")
        check_look(self.world.works, 100)
        check_rest(self._rows())
        if then_purge:
            self.purge(ALL, "", "", 0)
            assert self.world.run_round() == 0

    def _step(self, which: int) -> str:
        names = list(GRAPHS[self.world.graph])
        return names[which % len(names)]

    def _one(self, state: SpaceState, number: int) -> list[RunId]:
        runs = self.world.runs_in(state)
        return [runs[number % len(runs)]] if runs else []

    def _flying(self, number: int) -> list[RunId]:
        flying = self.world.flying()
        return [flying[number % len(flying)]] if flying else []

    def _complete(self, run: RunId, how: str) -> None:
        self.world.complete(run, how)
        self.done["runs completed: " + how] += 1

    def _passing(self, wanted: int, border: str = "", meanwhile: str = "", number: int = 0) -> Callable[[str], None]:
        """Return a hook for borders: it checks what was marked, and does something meanwhile at one of them."""

        def passing(at: str) -> None:
            if at == "purge marked":
                check_choice(self._rows(marking=True), wanted)
            if at == border and meanwhile:
                self.done["meanwhile " + meanwhile] += 1
                self._meanwhile(meanwhile, number)

        return passing

    def _meanwhile(self, what: str, number: int) -> None:
        if what == "purge":
            self.purge(ALL, "", "", 0)
        elif what == "begin":
            self.begin(number)
        elif what == "complete":
            self.complete(number, "same")
        else:
            getattr(self, what)()

    def _rows(self, *, marking: bool = False) -> Rows:
        with self.ops_db.read() as session:
            return Rows(session, load_pipeline(session, "letters"), self.world.cluster.clock(), marking=marking)

    def _check_new(self, *, standing: bool) -> None:
        rows = self._rows()
        new = {run for run in rows.runs if run > self.newest}
        check_new(rows, new, standing=standing)
        self.done["runs to regenerate"] += sum(rows.runs[run].regenerates_run_id is not None for run in new)
        self.newest = max(rows.runs, default=RunId(0))
        with self.ops_db.read() as session:
            now = lasting(session)
        assert self.lasting <= now, "lineage or history has changed"
        self.lasting = now


@pytest.mark.slow
@pytest.mark.parametrize("shared_ops_db", [pytest.param("postgresql", marks=pytest.mark.real)], indirect=True)
def test_lives_on_the_database_of_production(shared_ops_db: OpsDb, tmp_path: Path) -> None:
    """What hypothesis does on the embedded one takes too long here."""
    done = Counter[str]()
    for number in range(2 + LONGER):
        graph, happens = events(number)
        life = Life(shared_ops_db, tmp_path / f"life-{number}", graph)
        life.live([("rest", False), *happens])
        done += life.done
    assert done["events"] == (2 + LONGER) * (STEPS_A_LIFE + 2)
    assert min(done["runs purged"], done["runs to regenerate"]) >= 2, done


@st.composite
def possible_events(draw: st.DrawFn) -> Event:
    """Draw something that may happen."""
    name = draw(st.sampled_from([name for name, (weight, _) in EVENTS.items() for _ in range(weight)]))
    return (name, *(draw(st.sampled_from(values)) for values in EVENTS[name][-1]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lives_that_hypothesis_thinks_up(
    sqlite_ops_db: OpsDb, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    done = Counter[str]()

    @seed(20_261_201)  # else it depends on the text of this function, and with it how early some histories end
    class Machine(RuleBasedStateMachine):
        @initialize(graph=st.sampled_from(list(GRAPHS)))
        def begin(self, graph: str) -> None:
            done["lives"] += 1
            self.life = Life(sqlite_ops_db, tmp_path / f"life-{done['lives']}", graph)
            self.life.rest(then_purge=False)

        @rule(event=possible_events())
        def happens(self, event: Event) -> None:
            self.life.happen(event)
            done["steps"] += 1

        def teardown(self) -> None:
            self.life.live([])
            done.update(self.life.done)

    gc.freeze()  # what is imported is large and stays
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=LIVES + LONGER,
                stateful_step_count=STEPS_A_LIFE,
                deadline=None,
                derandomize=True,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        gc.unfreeze()
    record_property("done", dict(done))
    assert done["steps"] >= 10_000, done
    assert done["runs purged"] >= 400, done
    assert done["runs to regenerate"] >= 120, done
