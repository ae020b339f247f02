from collections import Counter

import pytest

from ccat_models.gap.reasons import Reason
from ccat_models.run.cancel import request_cancel
from ccat_models.tables.space import SpaceState
from resources.request.ensure import RequestOptions, ensure
from tests.support.worlds.letters import LettersWorld

pytestmark = pytest.mark.slow

P, G, L = SpaceState.PRESENT, SpaceState.PURGED, SpaceState.LOST


def test_what_cannot_be_regenerated_is_made_by_a_new_run(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.called()
    salt = embedded.calls.with_name("salt-read")
    salt.write_text("broken")
    assert len(embedded.run(step="join", options=RequestOptions(by="test", force=True)).failed) == 2
    assert embedded.state("read") == [L, L]
    salt.unlink()
    assert embedded.run(options=RequestOptions(by="test", patient=True, retry=True)).failed == []
    assert embedded.state("read") == [L, L, P, P]
    assert embedded.text("join", "source=source-1").count("counts") == 2
    assert embedded.called()["join source-1"] == 1
    embedded.check_disk()


def test_products_of_changed_data_are_not_regenerated(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.called()
    embedded.observatory.scan(0, "corrected")
    assert embedded.run().failed == []
    again = [f"{step} scan-{n}" for step in ("read", "clean") for n in (0, 2)]
    assert embedded.called() == Counter([*again, "join source-1"])
    assert embedded.spaces()["read scan-0"] == ["PURGED", "PRESENT"]
    assert embedded.spaces()["read scan-2"] == ["PRESENT", "-"]
    assert "corrected" in embedded.text("join", "source=source-1")


def test_products_can_be_purged_and_regenerated_repeatedly(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    for number in (4, 6, 8):
        embedded.purge()
        assert set(embedded.state("read")) == set(embedded.state("clean")) == {G}
        embedded.observatory.scan(number)
        assert embedded.run().failed == []
        embedded.check_disk()
    assert embedded.called() == Counter(
        {f"{step} scan-{n}": 4 - max(0, n - 2) // 2 for step in ("read", "clean") for n in (0, 2, 4, 6, 8)}
        | {"join source-1": 4}
    )


def test_a_request_for_one_step_regenerates_its_inputs(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.called()
    outcome = embedded.run(step="join", options=RequestOptions(by="test", force=True))
    assert (outcome.failed, outcome.created) == ([], {"join": 1})
    assert Counter(outcome.regenerating.values()) == {"read": 2, "clean": 2}
    assert embedded.called()["join source-1"] == 1


def test_a_cancelled_regeneration_is_run_again_with_retry(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.called()
    asked = ensure(embedded.cluster, "letters", "join", None, RequestOptions(by="ada", force=True))
    with embedded.cluster.ops_db.write() as session:
        request_cancel(session, list(asked.inputs), by="ada", now=embedded.cluster.clock())
    assert set(embedded.run(step="join").last["join"].held.values()) == {Reason.INPUTS_PURGED}
    assert embedded.called() == Counter()
    outcome = embedded.run(step="join", options=RequestOptions(by="ada", retry=True))
    assert Counter(outcome.regenerating.values()) == {"read": 2, "clean": 2}
    assert embedded.called()["join source-1"] == 1


def test_why_says_that_inputs_were_purged(embedded: LettersWorld) -> None:
    embedded.declare(0, 2)
    embedded.run()
    embedded.purge()
    embedded.observatory.clock.pass_seconds(1)
    assert Reason.INPUTS_PURGED in embedded.reasons("join", force=True).values()
    assert set(embedded.reasons("clean").values()) == {Reason.UP_TO_DATE}
