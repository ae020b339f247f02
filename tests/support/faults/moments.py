"""Stop, die or interfere at a named moment between two writes.

`watched` gives a cluster whose database, store and stager are the real ones and call a hook at each moment of `MOMENTS`.
A moment is where it is because of a function of the project and a call that this function makes. Where the function no
longer makes that call, this module cannot be imported: no moment is lost unnoticed.
"""

import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FrameType

from sqlalchemy.orm import Session

from resources.archive.stager import Answer, Stager, StagingRequest
from resources.location import Cluster
from resources.ops_db import OpsDb
from resources.raw import inputs, let_go
from resources.request import ensure, regeneration, standing
from resources.run import collector, executor, leased_write, observer, preparation, sender
from resources.space import purging
from resources.workspace.store import AttemptStore, Layout

Hook = Callable[[str], None]


@dataclass(frozen=True)
class Moment:
    """Right before or right after a function calls a method of the cluster's database, store or stager.

    A transaction ends with its block: "after" is then after the commit. `number` is the place of the call among all of
    that method in the function's text, which has `of` of them. Where `where` or `unless` names a local variable of the
    function, there is no such moment unless its value is true, or not true.
    """

    name: str
    function: Callable[..., object]
    method: str
    before: bool = False
    number: int = 1
    of: int = 1
    where: str = ""
    unless: str = ""

    @property
    def code(self) -> CodeType:
        """Return the code of the function."""
        return self.function.__code__

    def line(self) -> int:
        """Return the line of the call; raise LookupError where the function does not make it any more."""
        text, first = inspect.getsourcelines(self.function)
        calls = [number for number, line in enumerate(text, first) if re.search(rf"\.{self.method}\(", line)]
        known = {*self.code.co_varnames, *self.code.co_cellvars, ""}
        if len(calls) != self.of or not {self.where, self.unless} <= known:
            raise LookupError(f"{self.name!r} has moved: {self.code.co_qualname} calls {self.method} in lines {calls}")
        return calls[self.number - 1]

    def is_now(self, frame: FrameType, *, before: bool) -> bool:
        """Say whether this is the moment, in a frame of the function that calls the method."""
        if before is not self.before or (self.of > 1 and frame.f_lineno != self.line()):
            return False
        values = frame.f_locals if self.where or self.unless else {}
        return (not self.where or bool(values.get(self.where))) and not (self.unless and values.get(self.unless))


MOMENTS = (
    Moment("runs requested", ensure.ensure_steps, "request"),
    Moment("runs requested", ensure.ensure_pipeline, "request"),
    Moment("runs requested", regeneration.request_again, "request"),
    Moment("packages followed", standing.run_round, "request"),
    Moment("some runs requested", standing._run_pipeline_round, "request", where="created"),
    Moment("pipeline visited", standing._run_pipeline_round, "request", unless="created"),
    Moment("staging asked", inputs._ask, "ask"),
    Moment("staging recorded", inputs._record, "write"),
    Moment("staged copies marked", let_go.let_go, "write", number=1, of=2),
    Moment("staged copies going", let_go.let_go, "write", number=2, of=2),
    Moment("staged copies removed", let_go.remove, "write", before=True),
    Moment("purge marked", purging.purge, "request", where="marked"),
    Moment("purged files removed", purging._remove, "write", before=True),
    Moment("purge confirmed", purging._remove, "write"),
    Moment("lease taken", executor.Executor._tick, "write", where="lease"),
    Moment("taken up", executor.Executor._take_up, "write"),
    Moment("directories laid out", preparation.prepare, "lay_out"),
    Moment("intent committed", sender._Sending._committed, "write"),
    Moment("sent", sender._Sending._record, "write", before=True),
    Moment("sending recorded", sender._Sending._record, "write"),
    Moment("running recorded", observer._record, "write"),
    Moment("looked at", observer._claimed, "claim", before=True),
    Moment("failure recorded", collector.fail, "write"),
    Moment("outputs verified", collector._register, "write", before=True, number=2, of=2),
    Moment("collected", collector._register, "write", number=2, of=2),
)


def by_call(moments: Sequence[Moment]) -> dict[tuple[CodeType, str], list[Moment]]:
    """Return moments by the function and method they are known by; raise LookupError for one that has moved."""
    found: dict[tuple[CodeType, str], list[Moment]] = {}
    for moment in moments:
        moment.line()
        found.setdefault((moment.code, moment.method), []).append(moment)
    return found


_BY_CALL = by_call(MOMENTS)
_BETWEEN = (__file__, contextlib.__file__, leased_write.__file__)  # between a function and the method that it calls


@dataclass(frozen=True)
class _Call:
    """A call of a method, by the function that makes it."""

    frame: FrameType
    method: str
    hook: Hook

    def pass_by(self, *, before: bool) -> None:
        """Call the hook with the name of each moment that this is."""
        for moment in _BY_CALL.get((self.frame.f_code, self.method), ()):
            if moment.is_now(self.frame, before=before):
                self.hook(moment.name)


def _call(method: str, hook: Hook) -> _Call:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _BETWEEN:
        frame = frame.f_back
    assert frame is not None
    return _Call(frame, method, hook)


class FakeInterruptedOpsDb(OpsDb):
    """The real database, which calls a hook at moments before and after transactions."""

    def __init__(self, real: OpsDb, hook: Hook) -> None:
        vars(self).update(vars(real))
        self.real: OpsDb = real.real if isinstance(real, FakeInterruptedOpsDb) else real
        self._hook = hook

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session that commits when the block ends, with a moment before and one after."""
        call = _call("write", self._hook)
        call.pass_by(before=True)
        with super().write() as session:
            yield session
        call.pass_by(before=False)

    @contextmanager
    def request(self, *, judging: bool = False) -> Iterator[Session]:
        """Give a session that commits when the block ends, with a moment before and one after."""
        call = _call("request", self._hook)
        call.pass_by(before=True)
        with super().request(judging=judging) as session:
            yield session
        call.pass_by(before=False)


class FakeInterruptedStore(AttemptStore):
    """The real store, which calls a hook at moments before and after calls."""

    def __init__(self, real: AttemptStore, hook: Hook) -> None:
        vars(self).update(vars(real))
        self.real: AttemptStore = real.real if isinstance(real, FakeInterruptedStore) else real
        self._hook = hook

    def lay_out(self, layouts: Sequence[Layout]) -> dict[Path, str]:
        """Lay out attempts, with a moment after it."""
        problems = self.real.lay_out(layouts)
        _call("lay_out", self._hook).pass_by(before=False)
        return problems

    def claim(self, directories: Collection[Path]) -> set[Path]:
        """Claim attempts, with a moment before it."""
        _call("claim", self._hook).pass_by(before=True)
        return self.real.claim(directories)


class FakeInterruptedStager(Stager):
    """The real stager, which calls a hook at the moment after it was asked."""

    def __init__(self, real: Stager, hook: Hook) -> None:
        vars(self).update(vars(real))
        self.real: Stager = real.real if isinstance(real, FakeInterruptedStager) else real
        self._hook = hook

    def ask(self, requests: Sequence[StagingRequest]) -> dict[int, Answer]:
        """Ask how far packages are, with a moment after it."""
        answers = self.real.ask(requests)
        _call("ask", self._hook).pass_by(before=False)
        return answers


def watched(cluster: Cluster, hook: Hook) -> Cluster:
    """Return the same cluster, which calls a hook with the name of each moment, and no hook that it called before.

    The hook is called by whichever thread passes the moment; what it raises is raised there.
    """
    return replace(
        cluster,
        ops_db=FakeInterruptedOpsDb(cluster.ops_db, hook),
        store=FakeInterruptedStore(cluster.store, hook),
        stager=None if cluster.stager is None else FakeInterruptedStager(cluster.stager, hook),
    )


def unwatched(cluster: Cluster) -> Cluster:
    """Return the same cluster without a hook."""
    ops_db, store, stager = cluster.ops_db, cluster.store, cluster.stager
    return replace(
        cluster,
        ops_db=ops_db.real if isinstance(ops_db, FakeInterruptedOpsDb) else ops_db,
        store=store.real if isinstance(store, FakeInterruptedStore) else store,
        stager=stager.real if isinstance(stager, FakeInterruptedStager) else stager,
    )
