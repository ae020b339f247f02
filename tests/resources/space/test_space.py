import pytest
import sqlalchemy as sa

from ccat_models.product.copies import select_named
from ccat_models.product.kept import Cause, Held
from ccat_models.product.overview import read_overviews
from ccat_models.product.pins import list_pins, pin, unpin
from ccat_models.product.space import By, Scope, list_purges, read_space
from ccat_models.tables.space import RunSpace, SpaceState
from resources.space.plan import kept, plan
from resources.space.purging import removable
from tests.support.worlds.letters import ALL, LettersWorld

pytestmark = pytest.mark.slow

G = SpaceState.PURGED


def runs(held: list[Held]) -> dict[Cause | None, int]:
    return {one.cause: one.runs for one in held}


def test_sizes_add_up_and_each_run_is_kept_for_one_cause(tiny: LettersWorld) -> None:
    tiny.declare(0, 1, 2)
    tiny.run()
    with tiny.cluster.ops_db.read() as session:
        spaces = session.scalars(sa.select(RunSpace)).all()
        sizes = {by: read_space(session, by, Scope(tiny.cluster.location_id)) for by in By}
        (step,) = read_space(session, By.STEP, Scope(pipeline="letters", step="read"))
        largest = read_space(session, By.SUB_GROUP, limit=1)
        assert read_space(session, By.STATE, Scope(location_id=99)) == []
    total = sum(space.size_bytes for space in spaces)
    assert {by: sum(row.size_bytes for row in rows) for by, rows in sizes.items()} == dict.fromkeys(By, total)
    by_size = [row.size_bytes for row in sizes[By.STEP]]
    assert by_size == sorted(by_size, reverse=True)
    assert {(row.pipeline, row.step, row.runs) for row in sizes[By.STEP]} == {
        ("letters", "join", 2),
        ("letters", "clean", 3),
        ("letters", "read", 3),
    }
    assert (step.runs, step.purged_runs, step.gone_bytes) == (3, 0, 0)
    assert [row.size_bytes for row in largest] == [max(row.size_bytes for row in sizes[By.SUB_GROUP])]
    held = kept(tiny.cluster)
    assert runs(held) == {Cause.ALWAYS: 2, None: 6}
    assert sum(one.size_bytes for one in held) == sum(space.removable_bytes for space in spaces)


def test_the_removable_products_are_those_that_a_purge_removes(tiny: LettersWorld) -> None:
    tiny.declare(0, 1)
    tiny.run()
    now = tiny.cluster.clock()
    with tiny.cluster.ops_db.write() as session:
        pinned = select_named(session, ["letters/read/executed_obs_unit=scan-0"])
        assert pin(session, pinned, reason="for the talk", by="ada", now=now).pinned == 2
        again = pin(session, pinned, reason="again", by="bob", now=now)
    assert (again.pinned, again.already, again.not_there) == (0, 2, {})
    tiny.observatory.withdraw(1)  # what was made from it cannot be regenerated
    held = kept(tiny.cluster)
    may_go = removable(tiny.cluster, ALL)
    assert runs(held) == {Cause.ALWAYS: 2, Cause.PINNED: 1, Cause.NOT_AGAIN: 1, None: 2}
    assert held[-1] == Held(None, sum(one.runs for one in may_go), sum(one.size_bytes for one in may_go))
    planned = plan(tiny.cluster, ALL)
    assert (planned.staged_packages, planned.size_bytes) == (0, held[-1].size_bytes)
    assert [(step.step, step.runs) for step in planned.steps] == [("clean", 2)]
    assert tiny.purge().freed_runs == 2
    assert runs(kept(tiny.cluster)).get(None) is None
    with tiny.cluster.ops_db.write() as session:
        (row,) = list_pins(session)
        assert (row.step, row.products, row.reason, row.pinned_by) == ("read", 2, "for the talk", "ada")
        assert unpin(session, pinned, by="bob", now=now) == 2
        assert unpin(session, pinned, by="bob", now=now) == 0
        assert list_pins(session) == []
    assert tiny.purge().freed_runs == 1
    with tiny.cluster.ops_db.write() as session:
        said = pin(session, pinned, reason="too late", by="ada", now=now)
        assert list(said.not_there.values()) == [G]
        purges = list_purges(session)
        assert [(row.freed_runs, row.requested_by) for row in purges] == [(1, "test"), (2, "test")]
        assert purges[1].freed_bytes == planned.size_bytes
        gone = {row.state: row.gone_bytes for row in read_space(session, By.STATE)}
        (overview,) = read_overviews(session, now)
    assert [step.purged_runs for step in overview.steps] == [1, 2, 0]
    assert gone[G] == sum(row.freed_bytes for row in purges)


@pytest.mark.parametrize(
    ("retention", "expected", "later"),
    [
        ("    retention: {keep: always}\n", {Cause.ALWAYS: 3}, 0),
        ("    retention: {keep: until_superseded}\n", {Cause.ALWAYS: 1, Cause.UNTIL_SUPERSEDED: 2}, 0),
        ("    retention: {keep: days, days: 2}\n", {Cause.ALWAYS: 1, Cause.DAYS: 2}, 2),
    ],
)
@pytest.mark.parametrize("shared_ops_db", ["sqlite"], indirect=True)
def test_retention_is_named(tiny: LettersWorld, retention: str, expected: dict[Cause, int], later: int) -> None:
    tiny.declare(0, retention=retention)
    tiny.run()
    assert runs(kept(tiny.cluster)) == expected
    tiny.observatory.clock.pass_seconds(3 * 86_400)
    assert runs(kept(tiny.cluster)).get(None, 0) == later
