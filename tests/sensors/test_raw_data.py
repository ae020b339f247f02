import json
from dataclasses import replace

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_assets.dagit.names import raw_key
from ccat_models.sub_group.activity import Marks
from ccat_models.tables.gaps import PackageChange
from resources.request.ensure import RequestOptions, ensure_pipeline
from sensors.raw_data import RawDataPublisher, raw_data_sensor
from tests.support.hands.ticks import Ticks
from tests.support.worlds.in_dagster import DagsterWorld

OBSERVATIONS, SOURCES = "ccat_letters-data:executed_obs_unit", "ccat_letters-data:source"
NOTHING, PUBLISHED, COMPARED = "nothing new has arrived", "new arrivals were published", "everything was compared"


@pytest.fixture
def lab(lab_on_each: DagsterWorld) -> DagsterWorld:
    lab_on_each.application = replace(lab_on_each.application, clock=lab_on_each.observatory.clock)
    return lab_on_each


def members_follow(lab: DagsterWorld) -> None:
    """Do what the gaps sensor does."""
    ensure_pipeline(lab.application.cluster, "letters", RequestOptions(by="test"))
    with lab.application.ops_db.write() as session:
        session.execute(sa.delete(PackageChange))


def keys(lab: DagsterWorld, name: str = OBSERVATIONS) -> list[str]:
    return [key.rpartition("=")[2] for key in lab.instance.get_dynamic_partitions(name)]


def observed(lab: DagsterWorld) -> list[str]:
    page = lab.instance.fetch_materializations(raw_key("letters-data"), limit=100, ascending=True)
    return [(record.partition_key or "").rpartition("=")[2] for record in page.records]


def test_new_packages_become_partitions_and_observations(lab: DagsterWorld) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a", "b")
    members_follow(lab)
    assert (watch.tick(), watch.tick()) == (COMPARED, NOTHING)
    assert (keys(lab), keys(lab, SOURCES)) == (["scan-0", "scan-1"], ["source-1", "source-2"])
    assert observed(lab) == ["scan-0", "scan-1"]
    lab.observatory.scan(2)
    members_follow(lab)
    assert (watch.tick(), watch.tick()) == (PUBLISHED, NOTHING)
    assert keys(lab) == observed(lab) == ["scan-0", "scan-1", "scan-2"]


def test_a_package_is_observed_once_its_memberships_have_followed(lab: DagsterWorld) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a")
    members_follow(lab)
    watch.tick()
    lab.observatory.scan(0, "came again")
    assert (watch.tick(), observed(lab)) == (PUBLISHED, ["scan-0", "scan-0"])
    lab.observatory.scan(1)
    assert (watch.tick(), watch.tick()) == (PUBLISHED, NOTHING)
    assert observed(lab) == ["scan-0", "scan-0"]
    members_follow(lab)
    assert (watch.tick(), watch.tick()) == (PUBLISHED, NOTHING)
    assert observed(lab) == ["scan-0", "scan-0", "scan-1"]


def test_an_idle_tick_reads_once_and_asks_dagster_nothing(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a")
    members_follow(lab)
    watch.tick()
    cursor = watch.cursor
    for question in ("get_dynamic_partitions", "add_dynamic_partitions", "fetch_materializations"):
        monkeypatch.delattr(dg.DagsterInstance, question)
    answers: list[str] = []
    queries = lab.count_queries(lambda: answers.append(watch.tick()))
    begin = 1 if lab.application.ops_db.is_sqlite else 0
    assert (answers, queries - begin) == ([NOTHING], 1)
    assert watch.cursor == cursor


@pytest.mark.parametrize("cursor", ["lost", "unreadable", "of another database", "of a newer one"])
def test_a_cursor_that_cannot_be_trusted_leaves_no_partition_out(lab: DagsterWorld, cursor: str) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a", "b")
    members_follow(lab)
    watch.tick()
    cursor_fields = json.loads(watch.cursor or "")
    lab.instance.delete_dynamic_partition(OBSERVATIONS, "executed_obs_unit=scan-0")
    newer = cursor_fields | {"marks": cursor_fields["marks"] | {"sub_group": 1000}}
    watch.cursor = {
        "lost": None,
        "unreadable": "{",
        "of another database": json.dumps(cursor_fields | {"database": "sqlite:///elsewhere"}),
        "of a newer one": json.dumps(newer),
    }[cursor]
    assert (watch.tick(), sorted(keys(lab))) == (COMPARED, ["scan-0", "scan-1"])


def test_everything_is_compared_once_an_hour(lab: DagsterWorld) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a", "b")
    members_follow(lab)
    watch.tick()
    lab.instance.delete_dynamic_partition(OBSERVATIONS, "executed_obs_unit=scan-0")
    assert watch.tick() == NOTHING
    lab.observatory.clock.pass_seconds(3599)
    assert watch.tick() == NOTHING
    lab.observatory.clock.pass_seconds(1)
    assert (watch.tick(), watch.tick()) == (COMPARED, NOTHING)
    assert sorted(keys(lab)) == ["scan-0", "scan-1"]


def test_the_next_tick_does_what_one_tick_had_no_time_for(lab: DagsterWorld) -> None:
    lab.declare("a")
    members_follow(lab)
    left = [False, False, True, True, True]
    asked: list[Marks | None] = []

    def piece(_instance: dg.DagsterInstance, _session: Session, marks: Marks | None) -> bool:
        asked.append(marks)
        return left.pop(0)

    clock = lab.observatory.clock
    sensor = raw_data_sensor(lambda: lab.application.ops_db, RawDataPublisher(piece, piece, piece), clock)
    cursor, answers = None, []
    for _ in range(4):
        with dg.build_sensor_context(instance=lab.instance, cursor=cursor) as context:
            answer = sensor(context)
            cursor = context.cursor
        assert isinstance(answer, dg.SkipReason)
        answers.append(answer.skip_message)
    more = "there is more to publish than one tick has time for"
    assert answers == [more, more, COMPARED, NOTHING]
    assert asked == [None] * 5


def test_a_killed_tick_is_repeated(lab: DagsterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Ticks(lab, "raw_data")
    lab.declare("a", "b")
    members_follow(lab)
    with monkeypatch.context() as patched:
        patched.setattr("ccat_assets.dagit.raw_assets._arrival_event", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch.tick()
    assert (watch.cursor, observed(lab)) == (None, [])
    assert watch.tick() == COMPARED
    assert observed(lab) == ["scan-0", "scan-1"]
