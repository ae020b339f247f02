"""A process that dies while it makes room, or makes again, loses nothing and does nothing twice."""

from collections import Counter

import pytest

from ccat_models.tables.space import SpaceState
from resources.purging import finish
from tests.space.tiny import Died, Tiny

BORDERS = ("purge marked", "purged files removed", "purge confirmed")


@pytest.mark.parametrize("border", BORDERS)
def test_a_purge_that_dies_is_finished_by_whoever_comes_next(tiny: Tiny, border: str) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.called()
    with pytest.raises(Died):
        tiny.dying_at(border).purge()
    begun = SpaceState.PURGED if border == BORDERS[-1] else SpaceState.MARKED
    assert set(tiny.state("read")) == {begun}
    finish(tiny.cluster)
    assert set(tiny.state("read")) == set(tiny.state("clean")) == {SpaceState.PURGED}
    tiny.check_disk()
    tiny.run()
    assert tiny.called() == Counter()


@pytest.mark.parametrize("border", BORDERS[:2])
def test_what_a_dead_purge_has_marked_is_finished_before_it_is_made_again(tiny: Tiny, border: str) -> None:
    tiny.declare(0, 2)
    tiny.run()
    with pytest.raises(Died):
        tiny.dying_at(border).purge()
    tiny.called()
    tiny.observatory.scan(4)
    assert tiny.run().failed == []
    assert tiny.called()["join source-1"] == 0  # what is marked belongs to the purge
    finish(tiny.cluster)
    assert tiny.run().failed == []
    assert tiny.called() == Counter(f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2)) + Counter(
        ["join source-1"]
    )
    tiny.check_disk()


@pytest.mark.parametrize("border", ["runs requested", "taken up", "intent committed", "sent", "outputs verified"])
def test_making_again_survives_the_death_of_who_does_it(tiny: Tiny, border: str) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    tiny.observatory.scan(4)
    with pytest.raises(Died):
        tiny.dying_at(border).work_for_ever()
    assert tiny.run().failed == []
    called = tiny.called()
    assert called["join source-1"] == 1
    assert max(called.values()) == 1
    tiny.check_disk()
