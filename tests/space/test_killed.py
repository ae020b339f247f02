"""A process that dies while it makes room, or makes again, loses nothing and does nothing twice."""

from collections import Counter

import pytest

from ccat_models.tables.space import SpaceState
from resources.purging import finish
from tests.space.tiny import Died, Tiny

BORDERS = ("purge marked", "purged files removed", "purge confirmed")


@pytest.mark.parametrize("border", BORDERS)
def test_a_purge_that_dies_is_finished_by_whoever_comes_next(embedded: Tiny, border: str) -> None:
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


@pytest.mark.parametrize("border", BORDERS[:2])
def test_what_a_dead_purge_has_marked_is_finished_before_it_is_made_again(embedded: Tiny, border: str) -> None:
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
def test_making_again_survives_the_death_of_who_does_it(embedded: Tiny, border: str) -> None:
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
