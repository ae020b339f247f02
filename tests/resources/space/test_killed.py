"""A process that dies while it makes room, or makes again, loses nothing and does nothing twice."""

import shutil
from collections import Counter

import pytest

from ccat_models.product.purge import marked_runs
from ccat_models.product.space import list_purges
from ccat_models.tables.base import RunId
from ccat_models.tables.space import SpaceState
from resources.errors import DiskNotThere
from resources.request.ensure import RequestOptions
from resources.space.purging import finish, unlink
from tests.support.faults.moments import watched
from tests.support.worlds.letters import Died, LettersWorld

pytestmark = pytest.mark.slow

BORDERS = ("purge marked", "purged files removed", "purge confirmed")


@pytest.mark.parametrize("border", BORDERS)
def test_a_killed_purge_is_finished_by_the_next_process(embedded: LettersWorld, border: str) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.called()
    with pytest.raises(Died):
        embedded.dying_at(border).purge()
    begun = SpaceState.PURGED if border == BORDERS[-1] else SpaceState.MARKED
    assert set(embedded.state("read")) == {begun}
    finish(embedded.cluster)
    assert set(embedded.state("read")) == set(embedded.state("clean")) == {SpaceState.PURGED}
    embedded.check_disk()
    embedded.run()
    assert embedded.called() == Counter()


def test_nothing_is_taken_for_removed_while_the_disk_is_not_there(tiny: LettersWorld) -> None:
    tiny.declare(0, 2)
    tiny.run()
    base = tiny.cluster.base
    with pytest.raises(Died):
        tiny.dying_at("purge marked").purge()
    base.rename(base.with_name("elsewhere"))
    base.mkdir()
    with pytest.raises(DiskNotThere, match=f"newest products is below {base}: see whether its disk is mounted"):
        finish(tiny.cluster)
    with pytest.raises(DiskNotThere):
        tiny.purge()
    assert set(tiny.state("read")) == {SpaceState.MARKED}
    for left in base.iterdir():  # programs that were asked
        shutil.rmtree(left)
    base.rmdir()
    base.with_name("elsewhere").rename(base)
    finish(tiny.cluster)
    assert set(tiny.state("read")) == {SpaceState.PURGED}
    tiny.check_disk()


@pytest.mark.parametrize("border", BORDERS[:2])
def test_products_marked_by_a_killed_purge_are_purged_before_they_are_regenerated(
    embedded: LettersWorld, border: str
) -> None:
    embedded.declare(0, 2)
    embedded.run()
    with pytest.raises(Died):
        embedded.dying_at(border).purge()
    embedded.called()
    embedded.observatory.scan(4)
    assert embedded.run().failed == []
    once = [f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2, 4)]
    assert embedded.called() == Counter([*once, "join source-1"])
    embedded.check_disk()


@pytest.mark.parametrize("border", ["runs requested", "taken up", "intent committed", "sent", "outputs verified"])
def test_regeneration_survives_the_death_of_its_process(embedded: LettersWorld, border: str) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.called()
    embedded.observatory.scan(4)
    with pytest.raises(Died):
        embedded.dying_at(border).work_for_ever()
    assert embedded.run().failed == []
    called = embedded.called()
    assert called["join source-1"] == 1
    assert max(called.values()) == 1
    embedded.check_disk()


def test_a_delayed_purge_does_not_confirm_regenerated_products_that_another_purge_marked(tiny: LettersWorld) -> None:
    """A removes the files, and sleeps; B confirms, all is regenerated and marked by another purge; A wakes up."""
    tiny.declare(0, 2)
    tiny.run()

    def meanwhile(border: str) -> None:
        if border == "purged files removed":
            finish(tiny.cluster)
            assert tiny.run(step="join", options=RequestOptions(by="test", force=True)).failed == []
            with pytest.raises(Died):
                tiny.dying_at("purge marked").purge()

    slow = watched(tiny.cluster, meanwhile)
    LettersWorld(tiny.observatory, slow).purge()
    assert set(tiny.state("read")) == set(tiny.state("clean")) == {SpaceState.MARKED}
    assert finish(tiny.cluster).freed_runs == 4
    assert set(tiny.state("read")) == set(tiny.state("clean")) == {SpaceState.PURGED}
    tiny.check_disk()
    with tiny.cluster.ops_db.read() as session:
        assert [(row.freed_runs, row.problem) for row in list_purges(session)] == [(4, None), (4, None)]


def test_a_delayed_purge_removes_no_regenerated_products(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    with pytest.raises(Died):
        embedded.dying_at("purge marked").purge()
    with embedded.cluster.ops_db.read() as session:
        late = marked_runs(session, embedded.cluster.location_id, after=RunId(0), limit=100)
    finish(embedded.cluster)
    assert embedded.run(step="join", options=RequestOptions(by="test", force=True)).failed == []
    assert unlink(embedded.cluster, [path for run in late for path in run.paths])[1] == {}
    assert set(embedded.state("clean")) == {SpaceState.PRESENT}
    embedded.check_disk()
