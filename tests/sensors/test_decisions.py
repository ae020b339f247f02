import dagster as dg
import pytest

from ccat_models.lineage.taint import lift, taint
from ccat_models.product.quality import waive
from ccat_models.tables.base import RunId
from sensors import decisions
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld

pytestmark = pytest.mark.slow

LIMITS = "[{metric: letters, maximum: 8, blocking: true}]"
SCANS = tuple("abc")
QUIET = "no new decisions"


def opened(lab: DagsterWorld) -> Ticks:
    """Give three scans that were read, each with nine letters of which eight are too many."""
    lab.declare(*SCANS, quality=LIMITS)
    lab.refresh()
    assert lab.materialize("read", keys=[f"executed_obs_unit=scan-{number}" for number in range(3)]).success
    return Ticks(lab, "decisions")


def results(lab: DagsterWorld, check: str) -> list[tuple[str | None, bool, str | None]]:
    """Return the published results of a check of `read`, the oldest first."""
    key = dg.AssetCheckKey(lab.name("read").asset_key, check)
    records = lab.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    found = []
    for record in reversed(records):
        assert record.event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        found.append((evaluation.partition, evaluation.passed, evaluation.description))
    return found


def decide(lab: DagsterWorld, *lines: str) -> None:
    with lab.application.ops_db.request() as session:
        now = lab.application.clock()
        for line in lines:
            word, what = line.split()
            if word == "waive":
                waive(session, RunId(int(what)), "letters", by="ada", reason="bright", now=now)
            elif word == "taint":
                taint(session, [what], reason="bad", by="ben", now=now)
            else:
                lift(session, [what], by="ben", now=now)


def test_a_completed_run_publishes_its_checks_alone(lab_on_each: DagsterWorld) -> None:
    watch = opened(lab_on_each)
    assert [(key, passed) for key, passed, _ in results(lab_on_each, "letters")] == [
        (f"executed_obs_unit=scan-{number}", False) for number in range(3)
    ]
    assert watch.tick() == "decisions about 0 runs were published"
    assert watch.tick() == QUIET
    assert len(results(lab_on_each, "letters")) == 3


def test_a_waiver_turns_its_check(lab_on_each: DagsterWorld) -> None:
    watch = opened(lab_on_each)
    watch.tick()
    decide(lab_on_each, "waive 2")
    assert watch.tick() == "decisions about 1 runs were published"
    said = "waived by ada: bright (letters 9 is above 8)"
    assert results(lab_on_each, "letters")[3:] == [("executed_obs_unit=scan-1", True, said)]
    assert set(lab_on_each.statuses("read").values()) == {"MATERIALIZED"}
    assert set(lab_on_each.shown("read").values()) == {1}, "no product is shown again for it"
    assert watch.tick() == QUIET


def test_a_taint_and_its_lifting_are_shown(lab_on_each: DagsterWorld) -> None:
    watch = opened(lab_on_each)
    watch.tick()
    decide(lab_on_each, "taint scan-2")
    watch.tick()
    decide(lab_on_each, "lift scan-2")
    watch.tick()
    assert results(lab_on_each, "not_tainted")[3:] == [
        ("executed_obs_unit=scan-2", False, "comes from scan-2"),
        ("executed_obs_unit=scan-2", True, None),
    ]
    assert watch.tick() == QUIET


def test_limits_that_change_are_shown_on_what_had_completed(lab_on_each: DagsterWorld) -> None:
    lab, watch = lab_on_each, opened(lab_on_each)
    watch.tick()
    lab.observatory.clock.pass_seconds(366 * 86400)  # a fake clock; the lab uses the real one
    lab.declare(*SCANS, quality=LIMITS.replace("8", "9"))
    assert watch.tick() == "decisions about 3 runs were published"
    assert [passed for _, passed, _ in results(lab, "letters")] == [False] * 3 + [True] * 3


def test_many_decisions_are_published_in_pages_over_several_ticks(
    lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = opened(lab)
    watch.tick()
    monkeypatch.setattr(decisions, "_PAGE", 1)
    monkeypatch.setattr(decisions, "_PAGES", 2)
    decide(lab, "waive 1", "waive 2", "waive 3")
    assert watch.tick() == "decisions about 2 runs were published"
    decide(lab, "taint scan-0")
    assert watch.tick() == "decisions about 1 runs were published"
    assert watch.tick() == "decisions about 1 runs were published", "what was decided meanwhile comes after"
    assert watch.tick() == QUIET
    assert [passed for _, passed, _ in results(lab, "letters")[3:]] == [True] * 4
