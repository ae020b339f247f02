from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.errors import Refused
from ccat_models.tables.execution import ExecutedReductionStep, RunStatus
from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import (
    ARCHIVED,
    CO43,
    LATER,
    add_run,
    declared,
    dump,
    grouping,
    put,
    step,
    version,
)

REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"data_grouping": grouping(rules=[CO43, ARCHIVED], instrument_module="CHAI-HFA")},
        (
            "data_grouping chai-all: rules, instrument_module cannot change: "
            "its sub-groups are used by 2 runs of pipeline chai, 1 run of pipeline other; "
            "declare a grouping under another name"
        ),
    ),
    (
        {"data_grouping": grouping("co43", rules=[CO43])},
        (
            "data_grouping: cannot change from chai-all to co43: "
            "used by 2 runs of pipeline chai; declare another pipeline"
        ),
    ),
    (
        {"steps": [step(group_by=["source", "line"])]},
        (
            "steps.calibrate.group_by: cannot change from ['executed_obs_unit'] to ['source', 'line']: "
            "used by 2 runs of pipeline chai; rename the step"
        ),
    ),
    (
        {"software": [{"name": "calibration", "versions": [version(code=[])]}]},
        (
            "software calibration 1.0.0: code_sha256 cannot change: "
            "used by 2 runs of pipeline chai, 1 run of pipeline other; register a new version"
        ),
    ),
    (
        {
            "software": [
                {"name": "calibration", "versions": [version(command=["c"], image="oras://c", sha256="a" * 64)]}
            ]
        },
        (
            "software calibration 1.0.0: image, sha256, command cannot change: "
            "used by 2 runs of pipeline chai, 1 run of pipeline other; register a new version"
        ),
    ),
]


def prepare(ops_db: OpsDb) -> None:
    put(ops_db, declared())
    put(ops_db, declared(name="other"))
    add_run(ops_db, count=2)
    add_run(ops_db, pipeline="other")


def test_what_runs_refer_to_cannot_change(world: OpsDb) -> None:
    prepare(world)
    before = dump(world)
    for changes, message in REFUSED:
        with pytest.raises(Refused) as caught:
            put(world, declared(**changes), LATER)
        assert str(caught.value) == message
    assert dump(world) == before


def test_all_refusals_are_reported_at_once(world: OpsDb) -> None:
    prepare(world)
    with pytest.raises(Refused) as caught:
        put(world, declared(**REFUSED[0][0], **REFUSED[2][0], **REFUSED[3][0]))
    assert str(caught.value).split("\n") == [REFUSED[index][1] for index in (0, 2, 3)]


def test_runs_of_another_pipeline_keep_a_grouping_that_a_new_one_redefines(world: OpsDb) -> None:
    prepare(world)
    before = dump(world)
    with pytest.raises(Refused) as caught:
        put(world, declared(name="third", data_grouping=grouping(rules=[])))
    assert str(caught.value) == (
        "data_grouping chai-all: rules cannot change: "
        "its sub-groups are used by 2 runs of pipeline chai, 1 run of pipeline other; "
        "declare a grouping under another name"
    )
    assert dump(world) == before


def test_a_step_without_runs_may_be_cut_anew_next_to_one_with_runs(world: OpsDb) -> None:
    prepare(world)
    applied = put(world, declared(steps=[step(), step("map", group_by=["source"], depends_on=["calibrate"])]))
    assert [str(one) for one in applied.differences] == [
        'steps.map.group_by: [] → ["source"]',
        "- steps.map.parameters.cell_arcsec: 6",
    ]


def test_a_step_that_was_left_out_returns_only_with_its_cut(world: OpsDb) -> None:
    put(world, declared())
    add_run(world, "map")
    put(world, declared(steps=[step()]))
    with pytest.raises(Refused) as caught:
        put(world, declared(steps=[step(), step("map", group_by=["source"])]))
    assert str(caught.value) == (
        "steps.map.group_by: cannot change from [] to ['source']: used by 1 run of pipeline chai; rename the step"
    )


def test_a_pipeline_moves_only_where_nothing_of_it_is_in_flight(world: OpsDb) -> None:
    prepare(world)
    before = dump(world)
    with pytest.raises(Refused) as caught:
        put(world, declared(processing_location="cluster"))
    assert str(caught.value) == (
        "processing_location: cannot change from local to cluster while 2 runs of pipeline chai in flight: "
        "let them end (`ccat pipeline disable chai`) or cancel them (`ccat cancel`), then apply again"
    )
    assert dump(world) == before
    with world.write() as session:
        session.execute(sa.update(ExecutedReductionStep).values(status=RunStatus.CANCELLED))
    applied = put(world, declared(processing_location="cluster"))
    assert [str(one) for one in applied.differences] == ["processing_location: local → cluster"]


def test_with_runs_everything_else_may_change(world: OpsDb) -> None:
    prepare(world)
    flags = version(withdrawn=True, released=False, cosmetic=True, reprocess_from="0.9.0")
    changes: dict[str, Any] = {
        "description": "anew",
        "priority": 3,
        "software": [{"name": "calibration", "versions": [flags, version("1.1.0")]}],
        "steps": [step(version="1.1.0", version_policy="latest", cooldown_seconds=1, parameters={"a": 1})],
        "data_grouping": grouping(description="all"),
    }
    applied = put(world, declared(**changes))
    assert [str(one) for one in applied.differences] == [
        'description: "" → anew',
        "priority: 0 → 3",
        "steps.calibrate.final: false → true",
        "steps.calibrate.cooldown_seconds: 0 → 1",
        'steps.calibrate.version: "1.0.0" → "1.1.0"',
        "steps.calibrate.version_policy: compatible → latest",
        "+ steps.calibrate.parameters.a: 1",
        "steps.calibrate.retention.keep: while_needed → always",
        "- steps.map",
        'data_groupings.chai-all.description: "" → all',
        "software.calibration.versions.1.0.0.released: true → false",
        "software.calibration.versions.1.0.0.withdrawn: false → true",
        "software.calibration.versions.1.0.0.cosmetic: false → true",
        'software.calibration.versions.1.0.0.reprocess_from: null → "0.9.0"',
        "+ software.calibration.versions.1.1.0",
    ]
    before = dump(world)
    assert not put(world, declared(**changes)).changed
    assert dump(world) == before
