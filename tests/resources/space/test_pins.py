import threading

import pytest

from ccat_models.product.pins import Pinned, list_pins
from ccat_models.product.purge import Purpose, mark
from ccat_models.product.removable import choose
from ccat_models.tables.space import SpaceState
from resources.space.purging import finish, look_at_all, pin
from tests.support.worlds.letters import ALL, LettersWorld

pytestmark = pytest.mark.slow

P, M, G = SpaceState.PRESENT, SpaceState.MARKED, SpaceState.PURGED
WAIT_SECONDS = 0.5  # for the pinning thread: it waits for the purge, which ends only then


def test_pinning_while_a_purge_decides_reports_what_will_be_purged(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    tiny.observatory.clock.pass_seconds(3600)
    cluster, said = tiny.cluster, list[Pinned]()
    pinning = threading.Thread(
        target=lambda: said.append(pin(cluster, ["letters/read"], reason="for the talk", by="ada"))
    )
    with cluster.ops_db.request() as session:
        look_at_all(session, cluster.clock())
        chosen = choose(session, cluster.location_id, ALL, cluster.clock())
        pinning.start()
        pinning.join(WAIT_SECONDS)
        mark(session, cluster.location_id, chosen, Purpose(ALL, "test", "test"), cluster.clock())
    pinning.join()
    finish(cluster)
    assert (tiny.state("read"), tiny.state("clean")) == ([G], [G])
    assert list(said[0].not_there.values()) == [M]


def test_products_pinned_before_a_purge_decides_stay(tiny: LettersWorld) -> None:
    tiny.declare(0)
    tiny.run()
    said = pin(tiny.cluster, ["letters/read"], reason="for the talk", by="ada")
    tiny.purge()
    assert (tiny.state("read"), tiny.state("clean")) == ([P], [G])
    with tiny.cluster.ops_db.read() as session:
        (row,) = list_pins(session)
    assert (said.not_there, said.pinned) == ({}, row.products)
