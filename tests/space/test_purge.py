from collections import Counter

from ccat_models.tables.space import SpaceState
from tests.space.tiny import Tiny

P, G = SpaceState.PRESENT, SpaceState.PURGED


def test_intermediates_go_and_nothing_is_run_again_for_it(tiny: Tiny) -> None:
    tiny.declare(0, 1, 2, 3)
    assert tiny.run().failed == []
    tiny.called()
    freed = tiny.purge()
    assert (freed.freed_runs, freed.problem) == (8, None)
    assert tiny.state("read") == tiny.state("clean") == [G] * 4
    assert tiny.state("join") == [P, P]
    tiny.check_disk()
    tiny.run()
    assert tiny.called() == Counter()


def test_what_a_new_run_reads_is_made_again_and_nothing_else(tiny: Tiny) -> None:
    tiny.declare(0, 1, 2, 3)
    tiny.run()
    before = tiny.text("join", "source=source-1")
    tiny.purge()
    tiny.called()
    tiny.observatory.scan(4)
    outcome = tiny.run()
    assert outcome.failed == []
    expected = [f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2, 4)]
    assert tiny.called() == Counter([*expected, "join source-1"])
    assert tiny.text("join", "source=source-1") == before + "scan-4 counts\n"
    assert tiny.spaces()["read scan-0"] == ["PRESENT", "-"]
    assert tiny.spaces()["read scan-1"] == ["PURGED"]
    tiny.check_disk()


def test_something_else_takes_the_place_and_nothing_that_is_there_is_run_again(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    tiny.calls.with_name("salt-read").write_text("salt\n")
    tiny.observatory.scan(4)
    assert tiny.run(step="join").failed == []
    tiny.run()
    called = tiny.called()
    assert called["join source-1"] == 1
    assert called["read scan-0"] == called["clean scan-0"] == 1
    assert tiny.spaces()["read scan-0"] == ["REPLACED", "PRESENT"]
    assert tiny.spaces()["clean scan-0"] == ["REPLACED", "PRESENT"]
    assert tiny.text("join", "source=source-1").count("salt") == 3
    tiny.check_disk()
    tiny.run()
    assert tiny.called() == Counter()
