"""Standing pipelines request runs round by round, with a fake clock; the tests end these runs."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.gap.answer import gaps
from ccat_models.gap.reason_changes import newest_counts
from ccat_models.gap.rounds import RoundNow, begin_round, round_now
from ccat_models.gap.table import sub_group_gap
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.gaps import PipelineRound, SubGroupChange
from resources.request.standing import run_round
from tests.support.faults.moments import watched
from tests.support.worlds.manual import ManualWorld, release, short, step

pytestmark = pytest.mark.slow

CONTINUOUS: dict[str, Any] = {"mode": "standing", "trigger": {"type": "continuous"}}
DAILY: dict[str, Any] = {"mode": "standing", "trigger": {"type": "cron", "expression": "0 18 * * *"}}
READ, JOIN = step("read"), step("join", ["source"], depends_on=["read"])


def created(works: ManualWorld) -> dict[str, int]:
    """Run one round of the pipelines; return how many runs it requested, by step."""
    found = run_round(works.cluster)
    return {} if found is None else {name.partition("/")[2]: count for name, count in found.created.items()}


def known_reasons(works: ManualWorld, step_name: str) -> dict[str, str]:
    """Return the reasons that the last look stored."""
    with works.cluster.ops_db.read() as session:
        view = load_pipeline(session, "letters")
        return {short(gap.key): gap.reason.value for gap in gaps(session, view.step(step_name), known=sub_group_gap)}


def scans(works: ManualWorld, *numbers: int) -> None:
    for number in numbers:
        works.observatory.scan(number)


def until_idle(works: ManualWorld) -> None:
    """Run rounds and let the requested runs complete, until none is requested."""
    while run_round(works.cluster) is not None or works.in_flight():
        works.complete()


def stumble_at(border: str) -> Callable[[str], None]:
    """Return a hook that is called between transactions, and raises the first time it gets this border's name."""
    stumbled = list[str]()

    def passing(at: str) -> None:
        if at == border and not stumbled:
            stumbled.append(at)
            raise ValueError(at)

    return passing


def test_new_packages_are_processed_to_the_last_step_without_a_user(works: ManualWorld) -> None:
    scans(works, 0, 1, 2)
    works.declare(READ, JOIN, **CONTINUOUS)
    assert created(works) == {"read": 3}
    assert run_round(works.cluster) is None, "nothing has changed"
    works.complete()
    assert created(works) == {"join": 2}
    works.complete()
    assert created(works) == {}
    assert run_round(works.cluster) is None
    scans(works, 3)
    assert created(works) == {"read": 1}
    works.complete()
    assert created(works) == {"join": 1}
    assert known_reasons(works, "join") == {"source-1": "up_to_date", "source-2": "in_flight"}


def test_only_sub_groups_with_changes_are_evaluated_again(works: ManualWorld) -> None:
    scans(works, *range(8))
    works.declare(READ, JOIN, **CONTINUOUS)
    until_idle(works)
    works.observatory.scan(3, "corrected")
    found = run_round(works.cluster)
    assert found is not None
    assert found.created == {"letters/read": 1}
    assert found.judged == {"letters/read": 2, "letters/join": 2}, "as they are, and as they are with the new run"


def test_an_idle_round_reads_once(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ, JOIN, **CONTINUOUS)
    until_idle(works)
    statements: list[str] = []
    engine = works.cluster.ops_db.engine

    def note(*words: Any) -> None:
        statements.append(str(words[2]))

    sa.event.listen(engine, "before_cursor_execute", note)
    assert run_round(works.cluster) is None
    sa.event.remove(engine, "before_cursor_execute", note)
    assert [one.split()[0] for one in statements if not one.startswith("BEGIN")] == ["SELECT"]


def test_a_manual_pipeline_requests_nothing_until_a_user_starts_it(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ, step("join", ["source"], depends_on=["read"], when="any"))
    assert created(works) == {}
    assert known_reasons(works, "read") == {"scan-0": "missing", "scan-1": "missing"}, "but it is known what it lacks"
    with works.cluster.ops_db.request() as session:
        pipeline = load_pipeline(session, "letters")
        begin_round(session, pipeline.pipeline_id, by="ada", now=works.cluster.clock())
    assert created(works) == {"read": 2}
    works.observatory.clock.pass_seconds(86_400)
    scans(works, 2)
    works.complete()
    assert created(works) == {"join": 2}, "what came later belongs to no round"
    works.complete()
    assert created(works) == {}
    with works.cluster.ops_db.read() as session:
        assert session.scalars(sa.select(PipelineRound.ended_at)).all() != [None]
    works.observatory.scan(0, "corrected")
    assert created(works) == {}


def test_cron_runs_missed_ticks_once_and_later_steps_follow(works: ManualWorld) -> None:
    works.declare(READ, JOIN, **DAILY)
    assert created(works) == {}
    scans(works, 0, 1)
    assert created(works) == {}
    works.observatory.clock.now = datetime(2026, 4, 1, 17, 59, 59, tzinfo=UTC)
    assert created(works) == {}
    works.observatory.clock.pass_seconds(1)
    assert created(works) == {"read": 2}
    works.complete()
    assert created(works) == {"join": 2}
    works.complete()
    assert created(works) == {}
    scans(works, 2)
    works.observatory.clock.now += timedelta(days=5, hours=1)
    assert created(works) == {"read": 1}
    works.complete()
    assert created(works) == {"join": 1}
    works.complete()
    assert created(works) == {}
    with works.cluster.ops_db.read() as session:
        row = session.scalars(sa.select(PipelineRound)).one()
    assert (row.next_at, row.trigger) == (datetime(2026, 4, 7, 18, tzinfo=UTC), "0 18 * * * UTC")
    assert row.ended_at == works.cluster.clock()


def test_the_next_round_is_known_before_and_after_the_first_visit(works: ManualWorld) -> None:
    def now() -> RoundNow:
        with works.cluster.ops_db.read() as session:
            return round_now(session, load_pipeline(session, "letters"))

    today, tomorrow = datetime(2026, 4, 1, 18, tzinfo=UTC), datetime(2026, 4, 2, 18, tzinfo=UTC)
    scans(works, 0)
    works.declare(READ, **DAILY)
    assert now() == RoundNow(next_at=today)
    assert created(works) == {}
    assert now() == RoundNow(next_at=today)
    works.observatory.clock.now = today
    assert created(works) == {"read": 1}
    assert now() == RoundNow(begun_at=today, next_at=tomorrow)
    works.complete()
    assert created(works) == {}
    assert now() == RoundNow(begun_at=today, ended_at=today, next_at=tomorrow)
    works.declare(READ, mode="standing", trigger={"type": "manual"})
    assert now() == RoundNow(begun_at=today, ended_at=today)


def test_while_its_trigger_is_paused_a_pipeline_begins_no_round(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ, **DAILY)
    assert created(works) == {}
    works.observatory.clock.now += timedelta(days=3)
    assert run_round(works.cluster, ["letters"]) is None
    scans(works, 1)
    found = run_round(works.cluster, ["letters"])
    assert found is not None
    assert not found.created
    assert run_round(works.cluster, ["another"]) is not None
    assert len(works.in_flight()) == 2
    works.complete()
    assert created(works) == {}, "once"


def test_a_cron_tick_missed_during_downtime_is_run_once(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ, **DAILY)
    works.observatory.clock.pass_seconds(8 * 3600)  # the daemon is down, and comes at eight in the evening
    assert created(works) == {"read": 1}
    works.complete()
    works.observatory.clock.pass_seconds(60)
    works.observatory.scan(0, "corrected")
    assert created(works) == {}, "once"


@pytest.mark.parametrize("expression", ["0 19 * * *", "0  18 * * *", "0 6 * * *"])
def test_an_overdue_trigger_fires_although_it_was_changed(works: ManualWorld, expression: str) -> None:
    scans(works, 0)
    works.declare(READ, **DAILY)
    assert created(works) == {}
    works.observatory.clock.pass_seconds(8 * 3600)
    works.declare(READ, mode="standing", trigger={"type": "cron", "expression": expression})
    assert created(works) == {"read": 1}
    works.complete()
    works.observatory.clock.pass_seconds(60)
    works.observatory.scan(0, "corrected")
    assert created(works) == {}, "once"


def test_a_pipeline_whose_round_fails_holds_up_no_other(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ, **CONTINUOUS)
    works.declare(step("see"), name="alpha", data_grouping="all-data", priority=5, **CONTINUOUS)
    works.cluster = watched(works.cluster, stumble_at("some runs requested"))
    with pytest.raises(ExceptionGroup, match="pipelines that could not be visited: alpha"):
        run_round(works.cluster)
    assert len(works.in_flight()) == 2, "what alpha had asked for stays asked for"
    works.complete()
    assert run_round(works.cluster) is not None


def test_a_round_waits_for_cooldowns_and_an_edit_keeps_it(works: ManualWorld) -> None:
    steps = (READ, step("join", ["source"], depends_on=["read"], cooldown_seconds=600))
    scans(works, 0)
    works.declare(*steps, **DAILY)
    run_round(works.cluster)
    works.observatory.clock.now = datetime(2026, 4, 1, 18, tzinfo=UTC)
    until_idle(works)
    works.observatory.scan(0, "corrected")
    works.observatory.clock.pass_seconds(86_400 - 120)  # the next tick is due in two minutes
    assert created(works) == {}
    works.declare(*steps, description="another revision", **DAILY)
    works.observatory.clock.pass_seconds(120)
    assert created(works) == {"read": 1}
    works.complete()
    assert created(works) == {"join": 1}
    works.complete()
    works.observatory.scan(0, "corrected again")
    works.observatory.clock.now = datetime(2026, 4, 3, 18, tzinfo=UTC)
    assert created(works) == {"read": 1}
    works.complete()
    with works.cluster.ops_db.write() as session:  # as if the last map had been made five minutes before the tick
        joins = sa.select(Run.id).where(Run.reason == "new_inputs", Run.step_id == 2)
        session.execute(sa.update(Run).where(Run.id.in_(joins)).values(created_at=works.cluster.clock()))
    assert created(works) == {}
    assert known_reasons(works, "join") == {"source-1": "cooling_down"}
    works.observatory.clock.pass_seconds(599)
    assert run_round(works.cluster) is None
    works.observatory.clock.pass_seconds(1)
    assert created(works) == {"join": 1}


def test_inputs_settle_before_they_are_run(works: ManualWorld) -> None:
    works.declare(READ, step("join", ["source"], depends_on=["read"], settle_seconds=60, when="any"), **CONTINUOUS)
    scans(works, 0, 2)
    assert created(works) == {"read": 2}
    first, second = works.in_flight()
    works.complete(first)
    assert created(works) == {}
    assert known_reasons(works, "join") == {"source-1": "settling"}
    works.observatory.clock.pass_seconds(59)
    works.complete(second)
    assert created(works) == {}
    works.observatory.clock.pass_seconds(59)
    assert run_round(works.cluster) is None
    works.observatory.clock.pass_seconds(1)
    assert created(works) == {"join": 1}


def test_caps_hold_back_excess_runs_and_important_ones_go_first(works: ManualWorld) -> None:
    scans(works, *range(6))
    works.declare(step("read", max_in_flight=4), step("see"), max_in_flight=7, **CONTINUOUS)
    works.cluster = replace(works.cluster, max_in_flight=6)
    assert created(works) == {"read": 4, "see": 2}
    works.complete(*works.in_flight()[:3])
    assert created(works) == {"read": 2, "see": 1}
    works.complete()
    assert created(works) == {"see": 3}
    works.complete()
    assert created(works) == {}


def test_later_steps_are_run_before_more_sub_groups_of_earlier_ones(works: ManualWorld) -> None:
    scans(works, *range(6))
    works.declare(READ, step("clean", depends_on=["read"]), max_in_flight=2, **CONTINUOUS)
    rounds = []
    while asked := created(works):
        rounds.append(asked)
        works.complete()
    assert rounds == [{"read": 2}, {"clean": 2}] * 3


def test_a_sub_group_that_changes_all_the_time_starves_no_other(works: ManualWorld) -> None:
    scans(works, *range(3))
    works.declare(step("read", max_in_flight=1), **CONTINUOUS)
    for number in range(6):
        assert created(works) == {"read": 1}
        works.complete()
        works.observatory.scan(0, f"corrected {number}")
    with works.cluster.ops_db.read() as session:
        runs = session.execute(sa.select(Run.sub_group_id, sa.func.count()).group_by(Run.sub_group_id)).tuples().all()
    assert sorted(count for _, count in runs) == [1, 1, 4]


def test_an_open_circuit_stops_a_step_until_it_is_reset(works: ManualWorld) -> None:
    scans(works, *range(6))
    works.declare(step("read", circuit_threshold=2, max_in_flight=2), **CONTINUOUS)
    assert created(works) == {"read": 2}
    works.fail()
    assert created(works) == {}
    assert set(known_reasons(works, "read").values()) == {"circuit_open"}
    scans(works, 6)
    assert created(works) == {}
    with works.cluster.ops_db.read() as session:
        view = load_pipeline(session, "letters")
    works.reset_circuit(view, "read")
    assert created(works) == {"read": 2}
    assert (
        sorted(known_reasons(works, "read").values()) == ["in_flight"] * 2 + ["missing"] * 3 + ["retries_exhausted"] * 2
    )


def test_a_release_is_followed_by_a_standing_pipeline_and_waits_in_an_ad_hoc_one(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(step("read", version_policy="latest"), **CONTINUOUS)
    until_idle(works)
    works.releases.append(release("1.1.0"))
    works.declare(step("read", version_policy="latest"), **CONTINUOUS)
    assert created(works) == {"read": 2}
    works.complete()
    works.declare(step("read", version_policy="latest"), mode="ad_hoc", trigger={"type": "continuous"})
    works.releases.append(release("1.2.0"))
    works.declare(step("read", version_policy="latest"), mode="ad_hoc", trigger={"type": "continuous"})
    assert created(works) == {}
    assert set(known_reasons(works, "read").values()) == {"software_changed"}
    scans(works, 2)
    assert created(works) == {"read": 1}, "new data are what it was asked for"
    works.complete()
    with works.cluster.ops_db.request() as session:
        begin_round(session, load_pipeline(session, "letters").pipeline_id, by="me", now=works.cluster.clock())
    assert created(works) == {"read": 2}


def test_runs_of_an_ad_hoc_pipeline_count_when_it_becomes_standing(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ, JOIN, mode="ad_hoc")
    works.run_all()
    works.declare(READ, JOIN, **CONTINUOUS)
    assert created(works) == {}
    scans(works, 2)
    assert created(works) == {"read": 1}


def test_a_pipeline_that_is_disabled_or_edited_while_jobs_run_loses_nothing(works: ManualWorld) -> None:
    scans(works, 0, 1, 2)
    works.declare(READ, JOIN, **CONTINUOUS)
    assert created(works) == {"read": 3}
    works.set_enabled(enabled=False)
    assert created(works) == {}
    first, second, third = works.in_flight()
    works.complete(first)
    assert created(works) == {}
    assert known_reasons(works, "join") == {"source-1": "disabled", "source-2": "disabled"}
    works.declare(
        READ, step("join", ["source"], depends_on=["read"], parameters={"new": 1}), enabled=True, **CONTINUOUS
    )
    works.complete(second)
    works.fail(third)
    found = created(works)
    assert found == {"join": 1}, found
    assert known_reasons(works, "read") == {
        "scan-0": "up_to_date",
        "scan-1": "up_to_date",
        "scan-2": "retries_exhausted",
    }


@pytest.mark.parametrize("border", ["packages followed", "some runs requested", "pipeline visited"])
def test_the_next_round_continues_after_one_killed_between_transactions(works: ManualWorld, border: str) -> None:
    scans(works, 0, 1)
    works.declare(READ, JOIN, **CONTINUOUS)

    class Died(BaseException):
        pass

    def die(passed: str) -> None:
        if passed == border:
            raise Died

    whole = works.cluster
    works.cluster = watched(whole, die)
    with pytest.raises(Died):
        run_round(works.cluster)
    works.cluster = whole
    run_round(works.cluster)
    assert len(works.in_flight()) == 2
    until_idle(works)
    assert known_reasons(works, "join") == {"source-1": "up_to_date", "source-2": "up_to_date"}


def test_a_permanently_failed_sub_group_is_not_requested_again_until_its_inputs_change(works: ManualWorld) -> None:
    scans(works, 0)
    works.declare(READ, **CONTINUOUS)
    created(works)
    works.fail(failure=FailureClass.PERMANENT)
    assert created(works) == {}
    works.observatory.scan(0, "corrected")
    assert created(works) == {"read": 1}
    works.cancel()
    assert created(works) == {}
    assert known_reasons(works, "read") == {"scan-0": "retries_exhausted"}


def test_nothing_that_was_noted_is_left_behind(works: ManualWorld) -> None:
    scans(works, 0, 1)
    works.declare(READ, JOIN, **CONTINUOUS)
    run_round(works.cluster)
    works.declare(READ, **CONTINUOUS)  # without the second step
    until_idle(works)
    with works.cluster.ops_db.read() as session:
        assert session.scalars(sa.select(SubGroupChange)).all() == []
        steps = set(session.scalars(sa.select(sub_group_gap.c.step_id)))
    assert steps == {1}


def test_steps_that_left_the_declaration_are_no_longer_counted(works: ManualWorld) -> None:
    def counted() -> list[Mapping[str, int]]:
        with works.cluster.ops_db.read() as session:
            return [counts for _, counts in sorted(newest_counts(session).items())]

    def chosen(operator: str, value: str) -> dict[str, Any]:
        rule = {"table": "RawDataPackage", "column": "name", "operator": operator, "value": value}
        return {"name": "some", "rules": [rule]}

    scans(works, 0, 1, 2)
    works.declare(step("read"), step("see"), data_grouping=chosen("like", "scan-%"))
    run_round(works.cluster)
    assert counted() == [{"missing": 3}] * 2
    works.observatory.clock.pass_seconds(600)
    works.declare(step("read"), data_grouping=chosen("like", "scan-%"))
    run_round(works.cluster)
    assert counted() == [{"missing": 3}, {"missing": 0}], "a step was left out"
    works.observatory.clock.pass_seconds(600)
    works.declare(step("read"), step("see"), data_grouping=chosen("eq", "scan-1"))
    run_round(works.cluster)
    assert counted() == [{"missing": 1}] * 2, "it is back, and the rules choose fewer"


def test_a_round_ends_where_regeneration_has_failed(works: ManualWorld) -> None:
    def has_ended() -> bool:
        created(works)
        with works.cluster.ops_db.read() as session:
            return session.scalars(sa.select(PipelineRound.ended_at)).one() is not None

    scans(works, 0)
    works.declare(READ, JOIN, **DAILY)
    run_round(works.cluster)
    works.observatory.clock.now = datetime(2026, 4, 1, 18, tzinfo=UTC)
    run_round(works.cluster)
    works.complete(outputs={"text.txt": "text"})
    until_idle(works)
    assert has_ended()
    assert works.purge()
    works.declare(READ, {**JOIN, "parameters": {"smooth": 2}}, **DAILY)
    works.observatory.clock.now = datetime(2026, 4, 2, 18, tzinfo=UTC)
    assert created(works) == {"read": 1}, "it is regenerated"
    assert not has_ended()
    assert known_reasons(works, "join") == {"source-1": "inputs_purged"}
    works.fail(failure=FailureClass.INFRASTRUCTURE)
    assert has_ended()
    assert known_reasons(works, "join") == {"source-1": "inputs_purged"}, "until a user asks to try again"
