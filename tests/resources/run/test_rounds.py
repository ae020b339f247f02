"""An attached requester goes on until each named sub-group had its turn, however few may be in flight."""

import json
import subprocess  # noqa: TID251 - processes of their own
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ccat_models.errors import NotFound
from ccat_models.gap.reasons import Reason
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import RunStatus
from resources.request.attached import Attached, Outcome
from resources.request.ensure import Ensured, RequestOptions, ensure
from tests.support.faults.moments import watched
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.ticked import TickedWorld

pytestmark = pytest.mark.slow

EIGHT = [f"executed_obs_unit=scan-{number}" for number in range(8)]
ONCE_EACH = {f"scan-{number} 1": 1 for number in range(8)}

# Runs the step as another process would, and prints what it created and the most that it ever saw in flight.
CALLER = """
import json, sys
from dataclasses import replace
from typing import Any
from pathlib import Path
from typing import Any
import sqlalchemy as sa
from ccat_models.tables.execution import IN_FLIGHT
from ccat_models.tables.execution import ExecutedReductionStep as Run
from resources.request.attached import Attached
from resources.request.ensure import RequestOptions
from resources.run.executor import Executor
from resources.ops_db import OpsDb
from tests.support.faults.moments import watched
from tests.support.parts.clusters import local_cluster
url, base, waiter, *keys = sys.argv[1:]
ops_db, seen = OpsDb(url), [0]
def passing(border):
    if border == "runs requested":
        with ops_db.read() as session:
            seen.append(session.scalar(sa.select(sa.func.count()).where(Run.status.in_(IN_FLIGHT))))
cluster = watched(local_cluster(ops_db, Path(base), slots=4), passing)
print("ready", flush=True)
sys.stdin.readline()
outcome = Attached(Executor(cluster), waiter, 0.02).run_step("letters", "read", keys, RequestOptions(waiter))
print(json.dumps([outcome.created["read"], max(seen), sorted(outcome.last["read"].up_to_date)]), flush=True)
"""


class Requester:
    """A requester that stays attached, and how many runs were in flight each time that it had requested some."""

    def __init__(self, bench: TickedWorld, between: Callable[[], object] = lambda: None) -> None:
        self.bench = bench
        self.in_flight: list[int] = []
        self._between = between

    def attached(self, waiter: str = "ada") -> Attached:
        """Return a waiter whose looks take a tenth of a second of the observatory's time each."""
        executor = replace(self.bench.executor, cluster=watched(self.bench.works.cluster, self._note))
        return Attached(executor, waiter, 0.1, sleep=self._sleep)

    def run_step(self, keys: list[str] | None = None, **options: Any) -> Outcome:
        """Run the step `read`."""
        return self.attached().run_step("letters", "read", keys, RequestOptions("ada", **options))

    def _note(self, border: str) -> None:
        if border == "runs requested":
            self.in_flight.append(len(self.bench.works.in_flight()))

    def _sleep(self, seconds: float) -> None:
        self._between()
        self.bench.works.observatory.clock.pass_seconds(seconds)
        time.sleep(0.02)


@pytest.mark.parametrize("keys", [None, EIGHT])
def test_beyond_the_cap_of_a_step_everything_is_run_in_its_turn(bench: TickedWorld, keys: list[str] | None) -> None:
    bench.declare(*"abcdefgh", max_in_flight=2)
    requester = Requester(bench)
    outcome = requester.run_step(keys)
    assert bench.called() == ONCE_EACH
    assert max(requester.in_flight) == 2
    assert (outcome.created, outcome.joined["read"], outcome.failed) == ({"read": 8}, 0, [])
    assert list(outcome.last["read"].up_to_date) == EIGHT
    assert outcome.last["read"].held == {}
    assert outcome.runs["read"] == outcome.last["read"].up_to_date
    assert set(outcome.statuses.values()) == {RunStatus.COMPLETED}


def test_only_named_sub_groups_have_a_turn(bench: TickedWorld) -> None:
    bench.declare(*"abcdefgh", max_in_flight=1)
    outcome = Requester(bench).run_step(EIGHT[2:5])
    assert outcome.created == {"read": 3}
    assert bench.called() == {f"scan-{number} 1": 1 for number in (2, 3, 4)}


@pytest.mark.parametrize("of", ["pipeline", "location"])
def test_all_steps_of_a_pipeline_share_its_cap_and_that_of_the_location(bench: TickedWorld, of: str) -> None:
    for number in range(3):
        bench.works.observatory.scan(number)
    extra = "max_in_flight: 2\n" if of == "pipeline" else ""
    calls = bench.works.observatory.base / "calls"
    bench.works.observatory.declare(pipeline_yaml(calls, extra=extra), bench.works.code)
    if of == "location":
        bench.works.cluster = replace(bench.works.cluster, max_in_flight=2)
    requester = Requester(bench)
    outcome = requester.attached().run_pipeline("letters", RequestOptions("ada", patient=True))
    assert outcome.created == {"read": 3, "clean": 3, "join": 2}
    assert max(requester.in_flight) == 2
    assert outcome.failed == []


def test_failed_runs_are_not_tried_a_second_time_and_are_reported_at_the_end(bench: TickedWorld) -> None:
    bench.declare("exit 3", "b", "exit 3", "d", max_in_flight=1)
    requester = Requester(bench)
    requester.run_step()
    assert bench.called() == {f"scan-{number} 1": 1 for number in range(4)}
    outcome = requester.run_step(retry=True)
    assert outcome.created == {"read": 2}
    assert bench.called() == {"scan-0 1": 2, "scan-1 1": 1, "scan-2 1": 2, "scan-3 1": 1}
    assert set(outcome.last["read"].up_to_date) == {EIGHT[1], EIGHT[3]}
    assert outcome.last["read"].held == dict.fromkeys((EIGHT[0], EIGHT[2]), Reason.RETRIES_EXHAUSTED)
    assert len(outcome.failed) == 2


def test_each_forced_sub_group_is_run_once(bench: TickedWorld) -> None:
    bench.declare("a", "b", "c", max_in_flight=1)
    requester = Requester(bench)
    requester.run_step()
    outcome = requester.run_step(EIGHT[:3], force=True)
    assert outcome.created == {"read": 3}
    assert bench.called() == {f"scan-{number} 1": 2 for number in range(3)}
    assert requester.run_step().created == {"read": 0}


def test_changes_after_a_sub_groups_turn_are_left_for_the_next_call(bench: TickedWorld) -> None:
    bench.declare("a", "b", "c", max_in_flight=1)

    def change() -> None:
        if len(bench.called()) == 2 and not changed:
            changed.append(bench.works.observatory.scan(0, "changed"))

    changed: list[object] = []
    requester = Requester(bench, change)
    outcome = requester.run_step()
    assert changed
    assert bench.called() == {f"scan-{number} 1": 1 for number in range(3)}
    assert outcome.last["read"].held == {EIGHT[0]: Reason.NEW_INPUTS}
    assert outcome.last["read"].left == 0
    assert requester.run_step().created == {"read": 1}
    assert bench.called()["scan-0 1"] == 2


def test_runs_that_a_requester_created_are_not_joined_by_it_in_a_later_round() -> None:
    first, second = (RunId(number) for number in (1, 2))
    outcome = Outcome()
    outcome.note({"read": Ensured({}, {"a": first}, {"b": second}, {})})
    outcome.note({"read": Ensured({}, {"a": first, "b": second, "c": RunId(3)}, {}, {})})
    assert (outcome.created, outcome.joined) == ({"read": 1}, {"read": 2})
    assert outcome.runs == {"read": {"a": 1, "b": 2, "c": 3}}


def test_two_callers_share_the_cap_and_nothing_is_run_twice(bench: TickedWorld) -> None:
    bench.declare(*"abcdefgh", seconds=0.05, max_in_flight=2)
    url = bench.works.cluster.ops_db.url.render_as_string(hide_password=False)
    words = [sys.executable, "-c", CALLER, url, str(bench.works.cluster.base)]
    pipe = subprocess.PIPE
    callers = [
        subprocess.Popen([*words, waiter, *EIGHT], text=True, stdin=pipe, stdout=pipe) for waiter in ("ada", "bob")
    ]
    for caller in callers:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
    said = [json.loads(caller.communicate("go\n", timeout=60)[0]) for caller in callers]
    assert bench.called() == ONCE_EACH
    assert sum(created for created, _, _ in said) == 8
    assert max(seen for _, seen, _ in said) == 2
    assert [published for _, _, published in said] == [EIGHT, EIGHT]


def fill_the_location(bench: TickedWorld, seconds: float) -> None:
    """Let a pipeline without a waiter take the only place that there is."""
    bench.declare("a", "b")
    calls = bench.works.observatory.base / "calls-of-others"
    bench.works.observatory.declare(pipeline_yaml(calls, name="others", seconds=str(seconds)), bench.works.code)
    bench.works.cluster = replace(bench.works.cluster, max_in_flight=1)
    assert ensure(bench.works.cluster, "others", "read", EIGHT[:1], RequestOptions("bob")).created


@pytest.mark.parametrize("whole", [True, False])
def test_a_cap_that_another_pipeline_fills_is_waited_for(bench: TickedWorld, whole: bool) -> None:
    fill_the_location(bench, 0.3)
    requester = Requester(bench)
    outcome = requester.attached().run_pipeline("letters", RequestOptions("ada")) if whole else requester.run_step()
    assert outcome.created == {"read": 2}
    assert list(outcome.last["read"].up_to_date) == EIGHT[:2]
    assert bench.statuses() == ["COMPLETED"] * 3
    assert set(requester.in_flight) == {0, 1}
    assert bench.called() == {"scan-0 1": 1, "scan-1 1": 1}


def test_an_interruption_while_waiting_for_a_place_ends_no_run_of_others(bench: TickedWorld) -> None:
    fill_the_location(bench, 0.3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Requester(bench, interrupt).run_step()
    assert len(bench.statuses()) == 1
    assert bench.until_ended() == ["COMPLETED"]


def test_an_unknown_key_is_refused_and_nothing_is_begun(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    with pytest.raises(NotFound, match=r"no sub-group of step read 'executed_obs_unit=nothing'.*scan-0"):
        Requester(bench).run_step([EIGHT[0], "executed_obs_unit=nothing"])
    with pytest.raises(NotFound, match="no step of pipeline letters 'write'; known: read"):
        Requester(bench).attached().run_step("letters", "write", None, RequestOptions("ada"))
    assert (bench.statuses(), bench.called()) == ([], Counter())


def test_a_sub_group_whose_packages_went_before_it_was_ever_run_is_known_and_held(bench: TickedWorld) -> None:
    bench.declare("a", "b")
    assert set(bench.works.reasons("read")) == {"scan-0", "scan-1"}
    bench.works.observatory.withdraw(1)
    outcome = Requester(bench).run_step(EIGHT[:2])
    assert list(outcome.last["read"].up_to_date) == EIGHT[:1]
    assert outcome.last["read"].held == {EIGHT[1]: Reason.INPUTS_WITHDRAWN}
