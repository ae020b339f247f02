from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.errors import NotFound
from ccat_models.pipeline.digests import config_hash
from ccat_models.pipeline.values import Escalation, QualityLimit, Resources, Retention, Retries
from ccat_models.pipeline.view import PipelineView, StepView, list_pipelines, load_pipeline
from ccat_models.tables.execution import FailureClass
from ccat_models.tables.pipelines import FanIn, Keep, PipelineMode, TriggerType, VersionPolicy
from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import NOON, declared, grouping, put, step

LAST = {
    "description": "the map",
    "depends_on": ["calibrate"],
    "group_by": ["source", "line"],
    "when": "all",
    "cooldown_seconds": 60,
    "settle_seconds": 30,
    "version_policy": "latest",
    "parameters": {"cell_arcsec": 6},
    "resources": {"cpus": 4, "memory_gb": 8, "time_hours": 0.5, "gpus": 1},
    "escalation": {"factor": 1.5, "max_memory_gb": 64, "max_time_hours": 24},
    "retries": {"science": 0},
    "circuit_threshold": 3,
    "max_in_flight": 2,
    "quality": [{"metric": "rms.k", "maximum": 0.5, "blocking": True}],
    "retention": {"keep": "days", "days": 30},
}


def test_a_view_holds_all_that_was_declared(world: OpsDb) -> None:
    said: dict[str, Any] = {
        "mode": "ad_hoc",
        "priority": 7,
        "max_in_flight": 20,
        "partition_horizon_days": 90,
        "description": "CO",
        "owners": ["a@b.org"],
        "enabled": False,
    }
    put(world, declared(**said))
    put(world, declared(**said, steps=[step("map", **LAST), step()]))
    with world.read() as session:
        view = load_pipeline(session, "chai")
    first, last = view.steps
    assert view == PipelineView(
        pipeline_id=view.pipeline_id,
        name="chai",
        revision=2,
        revision_id=view.revision_id,
        applied_at=NOON,
        enabled=False,
        mode=PipelineMode.AD_HOC,
        trigger_type=TriggerType.MANUAL,
        trigger_config={},
        priority=7,
        max_in_flight=20,
        partition_horizon_days=90,
        description="CO",
        owners=("a@b.org",),
        data_grouping_id=view.data_grouping_id,
        data_grouping_name="chai-all",
        processing_location_id=view.processing_location_id,
        steps=(first, last),
    )
    assert last == StepView(
        step_id=last.step_id,
        revision_id=last.revision_id,
        name="map",
        order=1,
        description="the map",
        final=True,
        fan_in=FanIn.ALL,
        cooldown_seconds=60,
        settle_seconds=30,
        partitioning_id=last.partitioning_id,
        group_by=("source", "line"),
        upstream_ids=(first.step_id,),
        software_name="calibration",
        software_id=first.software_id,
        pinned_version="1.0.0",
        pinned_version_id=first.pinned_version_id,
        version_policy=VersionPolicy.LATEST,
        config_id=last.config_id,
        config_hash=config_hash({"cell_arcsec": 6}),
        parameters={"cell_arcsec": 6},
        resources=Resources(cpus=4, memory_gb=8, time_hours=0.5, gpus=1),
        retries=Retries(science=0, infrastructure=3, timeout=1, out_of_memory=1, collection=2, staging=3, lost=2),
        escalation=Escalation(factor=1.5, max_memory_gb=64, max_time_hours=24),
        circuit_threshold=3,
        max_in_flight=2,
        quality=(QualityLimit(metric="rms.k", name="rms_k", maximum=0.5, blocking=True),),
        retention=Retention(keep=Keep.DAYS, days=30),
    )
    assert (first.name, first.final, first.fan_in, first.escalation) == ("calibrate", False, FanIn.ALL, None)
    assert first.partitioning_id != last.partitioning_id
    assert view.step("map") is last


def test_steps_that_cut_alike_share_their_partitioning(world: OpsDb) -> None:
    put(world, declared(steps=[step("a"), step("b")]))
    put(world, declared(name="other", mode="standing"))
    with world.read() as session:
        other, view = load_pipeline(session, "other"), load_pipeline(session, "chai")
    assert view.steps[0].partitioning_id == view.steps[1].partitioning_id == other.steps[0].partitioning_id
    assert [one.fan_in for one in other.steps] == [FanIn.ANY, FanIn.ANY]


def test_an_unknown_name_lists_the_known_ones(world: OpsDb) -> None:
    put(world, declared(name="zeta"))
    put(world, declared())
    with world.read() as session, pytest.raises(NotFound) as caught:
        load_pipeline(session, "chay")
    assert str(caught.value) == "no pipeline 'chay'; known: chai, zeta"
    with world.read() as session, pytest.raises(NotFound) as caught:
        load_pipeline(session, "chai").step("grid")
    assert str(caught.value) == "no step of pipeline chai 'grid'; known: calibrate, map"


def test_all_pipelines_take_as_many_queries_as_one(world: OpsDb) -> None:
    put(world, declared(name="b"))
    put(world, declared(name="a", data_grouping=grouping("other")))
    put(world, declared(name="c", steps=[step(str(number)) for number in range(9)]))
    with world.read() as session, selects(world) as statements:
        views = list_pipelines(session)
        for_all = len(statements)
        assert load_pipeline(session, "c") == views[2]
    assert [view.name for view in views] == ["a", "b", "c"]
    assert (for_all, len(statements)) == (3, 6)


@contextmanager
def selects(ops_db: OpsDb) -> Iterator[list[str]]:
    """Give a list that fills with the queries as they are asked."""
    statements: list[str] = []

    def note(*event: Any) -> None:
        if event[2].startswith("SELECT"):
            statements.append(event[2])

    sa.event.listen(ops_db.engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(ops_db.engine, "before_cursor_execute", note)


def test_each_failure_has_its_budget() -> None:
    retries = Retries()
    budgets = {failure.value: retries.budget(failure) for failure in FailureClass}
    assert budgets == {
        "infrastructure": 3,
        "science": 1,
        "timeout": 1,
        "out_of_memory": 1,
        "collection": 2,
        "staging": 3,
        "lost": 2,
        "permanent": 0,
    }
