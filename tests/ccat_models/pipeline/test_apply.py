from typing import Any

import pytest
import sqlalchemy as sa

from ccat_models.errors import InvalidDeclaration
from ccat_models.pipeline.apply import Change, plan_apply
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.view import load_pipeline
from ccat_models.tables.execution import RerunRequest
from ccat_models.tables.pipelines import (
    DataGrouping,
    Pipeline,
    PipelineRevision,
    ReductionSoftwareVersion,
    ReductionStepConfig,
    SubGroup,
    SubGroupMember,
)
from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import (
    ARCHIVED,
    CO43,
    DIGESTS,
    LATER,
    NOON,
    declared,
    document,
    dump,
    grouping,
    put,
    step,
    version,
)


def plan(
    ops_db: OpsDb, declaration: PipelineDeclaration, digests: dict[tuple[str, str], CodeDigest] = DIGESTS
) -> Change:
    with ops_db.read() as session:
        return plan_apply(session, declaration, code_digests=digests)


def lines(change: Any) -> list[str]:
    return [str(difference) for difference in change.differences]


def test_a_new_pipeline_is_planned_without_a_row_and_then_written(world: OpsDb) -> None:
    before = dump(world)
    planned = plan(world, declared())
    assert dump(world) == before
    assert planned.revision is None
    assert lines(planned) == ["+ pipeline: chai", "+ data_groupings.chai-all", "+ software.calibration"]
    applied = put(world, declared())
    assert (applied.revision, applied.changed, applied.differences) == (1, True, planned.differences)


def test_what_is_written_is_what_was_declared(world: OpsDb) -> None:
    trigger = {"type": "cron", "expression": "0 6 * * *", "time_zone": "America/Santiago"}
    said = {"trigger": trigger, "owners": ["team:chai"], "priority": 10, "description": "CO"}
    put(world, declared(**said))
    with world.read() as session:
        pipeline = session.scalars(sa.select(Pipeline)).one()
        revision = session.scalars(sa.select(PipelineRevision)).one()
        found = session.scalars(sa.select(ReductionSoftwareVersion)).one()
        data_grouping = session.scalars(sa.select(DataGrouping)).one()
        assert (pipeline.name, pipeline.revision, pipeline.enabled, pipeline.created_at) == ("chai", 1, True, NOON)
        assert (revision.number, revision.applied_by, revision.applied_at) == (1, "ada", NOON)
        assert (revision.trigger_type.value, revision.priority, revision.owners) == ("cron", 10, ["team:chai"])
        assert revision.trigger_config == {"expression": "0 6 * * *", "time_zone": "America/Santiago"}
        assert (found.version, found.major, found.rank) == ("1.0.0", 1, 10**12)
        assert (found.command, found.code) == (["{python}", "calibrate.py"], ["calibrate.py"])
        assert (found.code_directory, found.code_sha256, found.reprocess_from_rank) == ("/programs", "c" * 64, None)
        assert (data_grouping.filter_rules, data_grouping.instrument_module_id) == ([ARCHIVED], 2)


def test_applying_again_writes_nothing(world: OpsDb) -> None:
    put(world, declared())
    before = dump(world)
    applied = put(world, declared(), LATER)
    assert (applied.revision, applied.changed) == (1, False)
    assert dump(world) == before


def test_a_grouping_by_name_and_software_that_is_left_out_are_no_change(world: OpsDb) -> None:
    put(world, declared())
    before = dump(world)
    assert not put(world, declared(data_grouping="chai-all", software=[])).changed
    assert dump(world) == before


def test_a_change_makes_a_revision_and_leaves_the_old_one(world: OpsDb) -> None:
    put(world, declared())
    before = dump(world)
    changed = [
        step(cooldown_seconds=60),
        step("map", group_by=[], depends_on=["calibrate"], parameters={"cell_arcsec": 5}),
    ]
    applied = put(world, declared(steps=changed), LATER)
    assert applied.revision == 2
    assert lines(applied) == ["steps.calibrate.cooldown_seconds: 0 → 60", "steps.map.parameters.cell_arcsec: 6 → 5"]
    after = dump(world)
    for records in (
        "pipeline_revision",
        "reduction_step_revision",
        "reduction_step_dependency",
        "reduction_step_config",
    ):
        assert set(map(repr, before[records])) < set(map(repr, after[records]))
    assert after["reduction_step"] == before["reduction_step"]


def test_a_step_that_is_left_out_stays_as_a_row_and_returns_as_itself(world: OpsDb) -> None:
    put(world, declared())
    put(world, declared(steps=[step()]))
    with world.read() as session:
        view = load_pipeline(session, "chai")
    assert [(one.name, one.final) for one in view.steps] == [("calibrate", True)]
    steps = dump(world)["reduction_step"]
    assert len(steps) == 2
    applied = put(world, declared())
    assert lines(applied) == [
        "steps.calibrate.final: true → false",
        "steps.calibrate.retention.keep: always → while_needed",
        "+ steps.map",
    ]
    assert dump(world)["reduction_step"] == steps


def test_enabled_is_a_state_without_a_revision_and_left_out_it_stays(world: OpsDb) -> None:
    put(world, declared(enabled=False))
    assert not put(world, declared()).changed
    applied = put(world, declared(enabled=True))
    assert (applied.revision, lines(applied)) == (1, ["enabled: false → true"])
    with world.read() as session:
        assert load_pipeline(session, "chai").enabled


def test_parameters_that_were_used_before_are_found_by_their_hash(world: OpsDb) -> None:
    put(world, declared(steps=[step(parameters={"a": 1, "b": [1.0, None]})]))
    put(world, declared(steps=[step(parameters={"b": [1.0, None], "a": 2})]))
    put(
        world,
        declared(
            steps=[step(parameters={"b": [1.0, None], "a": 1}), step("copy", parameters={"a": 2, "b": [1.0, None]})]
        ),
    )
    with world.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ReductionStepConfig)) == 2


def test_every_parameter_comes_back_as_it_was_given(world: OpsDb) -> None:
    values: list[Any] = [
        1e16,
        1e23,
        -1e300,
        -0.0,
        6.0,
        5e-324,
        2**70,
        True,
        None,
        [],
        {},
        "é\n\x7f\U0001f52d",
        {"a": [{"b": 1.5}]},
    ]
    declaration = declared(steps=[step(parameters={"values": values})])
    put(world, declaration)
    with world.read() as session:
        kept = load_pipeline(session, "chai").steps[0].parameters["values"]
    assert [repr(one) for one in kept] == [repr(one) for one in declaration.steps[0].parameters["values"]]
    assert repr(kept[:5]) == f"[{10**16}, {int(1e23)}, {int(-1e300)}, 0.0, 6.0]"
    assert not put(world, declaration).changed


def test_an_integer_is_not_the_float_of_its_value(world: OpsDb) -> None:
    put(world, declared(steps=[step(parameters={"a": 1, "b": True})]))
    assert lines(plan(world, declared(steps=[step(parameters={"a": 1.0, "b": 1})]))) == [
        "steps.calibrate.parameters.a: 1 → 1.0",
        "steps.calibrate.parameters.b: true → 1",
    ]


def test_a_withdrawn_version_stays_so_until_a_declaration_says_otherwise(world: OpsDb) -> None:
    put(world, declared())
    put(world, declared(software=[{"name": "calibration", "versions": [version(withdrawn=True)]}]))
    assert not put(world, declared()).changed
    back = put(world, declared(software=[{"name": "calibration", "versions": [version(withdrawn=False)]}]))
    assert lines(back) == ["software.calibration.versions.1.0.0.withdrawn: true → false"]


def test_flags_and_new_versions_change_with_runs_or_without(world: OpsDb) -> None:
    put(world, declared())
    versions = [version(withdrawn=True), version("1.1.0", reprocess_from="1.1.0", cosmetic=True)]
    applied = put(world, declared(software=[{"name": "calibration", "description": "new", "versions": versions}]))
    assert lines(applied) == [
        'software.calibration.description: "" → new',
        "software.calibration.versions.1.0.0.withdrawn: false → true",
        "+ software.calibration.versions.1.1.0",
    ]
    assert not put(
        world, declared(software=[{"name": "calibration", "description": "new", "versions": versions}])
    ).changed


def test_a_grouping_without_runs_is_edited_and_forgets_its_sub_groups(world: OpsDb) -> None:
    put(world, declared())
    with world.write() as session:
        view = load_pipeline(session, "chai")
        cell = SubGroup(
            partitioning_id=view.steps[0].partitioning_id, key="a", natural_key="a", dimensions={}, created_at=NOON
        )
        session.add(cell)
        session.flush()
        request = RerunRequest(
            step_id=view.steps[0].step_id, sub_group_id=cell.id, force=True, requested_at=NOON, requested_by="a"
        )
        session.add(request)
    applied = put(world, declared(data_grouping=grouping(rules=[ARCHIVED, CO43], instrument_module=None)))
    assert [one.path for one in applied.differences] == [
        "data_groupings.chai-all.instrument_module",
        "data_groupings.chai-all.rules",
    ]
    after = dump(world)
    assert (after["sub_group"], after["sub_group_member"], after["rerun_request"]) == ([], [], [])
    with world.read() as session:
        row = session.scalars(sa.select(DataGrouping)).one()
        assert (row.filter_rules, row.instrument_module_id) == ([ARCHIVED, CO43], None)
        assert session.scalar(sa.select(sa.func.count()).select_from(SubGroupMember)) == 0


def test_a_step_that_is_cut_anew_forgets_requests_for_its_old_sub_groups(world: OpsDb) -> None:
    put(world, declared())
    with world.write() as session:
        for one in load_pipeline(session, "chai").steps:
            cell = SubGroup(
                partitioning_id=one.partitioning_id, key="a", natural_key="a", dimensions={}, created_at=NOON
            )
            session.add(cell)
            session.flush()
            asked = {"step_id": one.step_id, "sub_group_id": cell.id, "force": True}
            session.add(RerunRequest(**asked, requested_at=NOON, requested_by="ada"))
        kept = load_pipeline(session, "chai").step("map").step_id
    put(world, declared(steps=[step(group_by=["source"]), step("map", group_by=[], depends_on=["calibrate"])]))
    with world.read() as session:
        assert session.scalars(sa.select(RerunRequest.step_id)).all() == [kept]


def test_a_groupings_description_keeps_its_sub_groups(world: OpsDb) -> None:
    put(world, declared())
    with world.write() as session:
        partitioning_id = load_pipeline(session, "chai").steps[0].partitioning_id
        session.add(SubGroup(partitioning_id=partitioning_id, key="a", natural_key="a", dimensions={}, created_at=NOON))
    assert lines(put(world, declared(data_grouping=grouping(description="all")))) == [
        'data_groupings.chai-all.description: "" → all'
    ]
    assert len(dump(world)["sub_group"]) == 1


def test_without_runs_grouping_cut_and_code_may_change(world: OpsDb) -> None:
    put(world, declared())
    software = [{"name": "calibration", "versions": [version(command=["calibrate"], code=[])]}]
    applied = put(
        world,
        declared(data_grouping=grouping("co43", rules=[CO43]), software=software, steps=[step(group_by=["source"])]),
    )
    assert lines(applied)[:2] == [
        "data_grouping: chai-all → co43",
        'steps.calibrate.group_by: ["executed_obs_unit"] → ["source"]',
    ]
    with world.read() as session:
        view = load_pipeline(session, "chai")
    assert (view.data_grouping_name, view.steps[0].group_by) == ("co43", ("source",))


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    (
        {"processing_location": "archive"},
        "processing_location: no such data location of type processing; value 'archive'; choose from cluster, local",
    ),
    ({"data_grouping": "all"}, "data_grouping: no such data grouping; value 'all'; choose from chai-all"),
    (
        {"data_grouping": grouping(instrument_module="CHAI")},
        "data_grouping.instrument_module: no such instrument module; value 'CHAI'; choose from CHAI-HFA, CHAI-LFA",
    ),
    (
        {"steps": [step(software="gridding")]},
        "steps[0].software: no such software; value 'gridding'; choose from calibration",
    ),
    (
        {
            "steps": [step(), step("b", version="1.2.0")],
            "software": [{"name": "calibration", "versions": [version("1.1.0")]}],
        },
        "steps[1].version: no such version of calibration; value '1.2.0'; choose from 1.0.0, 1.1.0",
    ),
]


def test_an_unknown_name_is_refused_with_the_choices(world: OpsDb) -> None:
    put(world, declared())
    before = dump(world)
    for changes, message in UNKNOWN:
        with pytest.raises(InvalidDeclaration) as caught:
            put(world, declared(**changes))
        assert str(caught.value) == message
    assert dump(world) == before


def test_all_unknown_names_are_reported_at_once(world: OpsDb) -> None:
    with pytest.raises(InvalidDeclaration) as caught:
        put(world, declared(processing_location="moon", data_grouping="all", software=[], steps=[step()]))
    assert str(caught.value) == (
        "processing_location: no such data location of type processing; value 'moon'; choose from cluster, local\n"
        "data_grouping: no such data grouping; value 'all'; choose from none yet\n"
        "steps[0].software: no such software; value 'calibration'; choose from none yet"
    )


def test_code_without_a_digest_is_the_callers_mistake(world: OpsDb) -> None:
    before = dump(world)
    with pytest.raises(ValueError, match=r"^no digest given of the code of calibration 1\.0\.0$"):
        plan(world, declared(), {})
    assert dump(world) == before


def test_steps_are_ordered_upstreams_first_whatever_the_text(world: OpsDb) -> None:
    steps = [step("c", depends_on=["a", "b"]), step("b", depends_on=["a"]), step("a"), step("alone")]
    put(world, declared(steps=steps))
    with world.read() as session:
        view = load_pipeline(session, "chai")
    names = {one.step_id: one.name for one in view.steps}
    found = [(one.name, one.order, one.final, sorted(names[up] for up in one.upstream_ids)) for one in view.steps]
    assert found == [("a", 0, False, []), ("b", 1, False, ["a"]), ("c", 2, True, ["a", "b"]), ("alone", 3, True, [])]
    assert document()["name"] == view.name
