from collections import Counter

from ccat_models.gap.reasons import Reason
from ccat_models.tables.space import SpaceState
from resources.ensure import Wish
from tests.space.tiny import Tiny

P, G, L = SpaceState.PRESENT, SpaceState.PURGED, SpaceState.LOST


def test_what_the_program_cannot_make_again_is_run_anew(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    salt = tiny.calls.with_name("salt-read")
    salt.write_text("broken")
    assert len(tiny.run(step="join", wish=Wish(by="test", force=True)).failed) == 2
    assert tiny.state("read") == [L, L]
    salt.unlink()
    assert tiny.run(wish=Wish(by="test", patient=True, retry=True)).failed == []
    assert tiny.state("read") == [L, L, P, P]
    assert tiny.text("join", "source=source-1").count("counts") == 2
    assert tiny.called()["join source-1"] == 1
    tiny.check_disk()


def test_what_was_made_from_data_that_changed_is_not_made_again(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    tiny.observatory.scan(0, "corrected")
    assert tiny.run().failed == []
    again = [f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2)]
    assert tiny.called() == Counter([*again, "join source-1"])
    assert tiny.spaces()["read scan-0"] == ["PURGED", "PRESENT"]
    assert tiny.spaces()["read scan-2"] == ["PRESENT", "-"]
    assert "corrected" in tiny.text("join", "source=source-1")


def test_purging_and_making_again_goes_on_for_ever(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    for number in (4, 6, 8):
        tiny.purge()
        assert set(tiny.state("read")) == set(tiny.state("clean")) == {G}
        tiny.observatory.scan(number)
        assert tiny.run().failed == []
        tiny.check_disk()
    assert tiny.called() == Counter(
        {f"{step} scan-{n}": 4 - max(0, n - 2) // 2 for step in ("read", "clean") for n in (0, 2, 4, 6, 8)}
        | {"join source-1": 4}
    )


def test_one_step_makes_again_what_it_reads_by_itself(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.called()
    outcome = tiny.run(step="join", wish=Wish(by="test", force=True))
    assert (outcome.failed, outcome.created) == ([], {"join": 1})
    assert Counter(outcome.made_again.values()) == {"read": 2, "clean": 2}
    assert tiny.called()["join source-1"] == 1


def test_why_says_that_inputs_were_purged(tiny: Tiny) -> None:
    tiny.declare(0, 2)
    tiny.run()
    tiny.purge()
    tiny.observatory.clock.pass_seconds(1)
    assert Reason.INPUTS_PURGED in tiny.reasons("join", force=True).values()
    assert set(tiny.reasons("clean").values()) == {Reason.UP_TO_DATE}
