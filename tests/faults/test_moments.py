"""The moments at which tests interfere are where their names say, or the tool says that they have moved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resources.ops_db import OpsDb
from resources.request.ensure import RequestOptions, ensure
from resources.run.executor import Executor
from tests.support.faults.moments import MOMENTS, Moment, by_call, unwatched, watched
from tests.support.worlds.manual import ManualWorld, step


def by_name(name: str) -> Moment:
    return next(moment for moment in MOMENTS if moment.name == name)


@pytest.mark.parametrize(
    "moved",
    [
        replace(by_name("sent"), method="request"),
        replace(by_name("collected"), of=1),
        replace(by_name("staged copies going"), of=1),
        replace(by_name("lease taken"), where="leased"),
        replace(by_name("pipeline visited"), unless="made"),
    ],
    ids=lambda moment: str(moment.name),
)
def test_a_moment_whose_call_no_longer_exists_is_an_error(moved: Moment) -> None:
    with pytest.raises(LookupError, match=f"^'{moved.name}' has moved: "):
        by_call([moved])


def request(works: ManualWorld, hook: Callable[[str], None]) -> None:
    works.observatory.scan(0)
    works.declare(step("read"))
    ensure(watched(works.cluster, hook), "letters", "read", None, RequestOptions("test"))


def test_a_hook_is_called_after_the_commit_and_raises_where_it_is_called(sqlite_ops_db: OpsDb, tmp_path: Path) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    committed: list[tuple[str, int]] = []

    def hook(passed: str) -> None:
        committed.append((passed, len(works.in_flight())))
        raise RuntimeError(passed)

    with pytest.raises(RuntimeError, match="runs requested"):
        request(works, hook)
    assert committed == [("runs requested", 1)]


def test_a_look_without_a_lease_does_not_pass_the_moment_at_which_it_is_taken(
    sqlite_ops_db: OpsDb, tmp_path: Path
) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    passed: list[str] = []
    assert Executor(works.cluster, holder="elsewhere:1:1:a").tick()
    assert not Executor(watched(works.cluster, passed.append), holder="elsewhere:2:2:b").tick()
    assert passed == []
    works.observatory.clock.pass_seconds(31)
    assert Executor(watched(works.cluster, passed.append), holder="elsewhere:2:2:b").tick()
    assert passed == ["lease taken", "looked at"]


def test_a_cluster_calls_the_last_hook_alone_and_none_once_it_is_unwatched(
    sqlite_ops_db: OpsDb, tmp_path: Path
) -> None:
    works = ManualWorld.open(sqlite_ops_db, tmp_path)
    first: list[str] = []
    second: list[str] = []
    twice = watched(watched(works.cluster, first.append), second.append)
    assert Executor(twice, holder="me").tick()
    assert (first, second) == ([], ["lease taken", "looked at"])
    plain = unwatched(twice)
    assert (plain.ops_db, plain.store, plain.stager) == (works.cluster.ops_db, works.cluster.store, None)
    assert Executor(plain, holder="me").tick()
    assert (first, second) == ([], ["lease taken", "looked at"])
