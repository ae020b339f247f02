from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccat_models.errors import NotFound
from ccat_models.pipeline.apply import apply, plan_apply
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.digests import CodeDigest
from ccat_models.pipeline.export import export
from ccat_models.pipeline.yaml_source import parse
from resources.ops_db import OpsDb
from tests.support.worlds.pipeline import (
    ARCHIVED,
    CO43,
    DIGESTS,
    NOON,
    declared,
    dump,
    grouping,
    put,
    step,
    version,
)

pytestmark = pytest.mark.slow

EXPORTED = """\
schema_version: 1
name: chai
description: ''
owners: []
mode: standing
trigger: {type: manual}
priority: 0
enabled: true
processing_location: local
data_grouping:
  name: chai-all
  description: ''
  instrument_module: CHAI-LFA
  rules:
    - {table: RawDataPackage, column: state, operator: eq, value: archived}
software:
  - name: calibration
    description: ''
    versions:
      - version: 1.0.0
        command: ['{python}', calibrate.py]
        code: [calibrate.py]
        code_directory: /programs
        released: true
        withdrawn: false
        cosmetic: false
steps:
  - name: calibrate
    description: ''
    depends_on: []
    group_by: [executed_obs_unit]
    when: any
    final: true
    cooldown_seconds: 0
    settle_seconds: 0
    software: calibration
    version: 1.0.0
    version_policy: compatible
    parameters:
      a:
      b:
        - 1.0
        - x: '1'
          y: true
    resources: {cpus: 1, memory_gb: 1.0, time_hours: 1.0, gpus: 0, slurm: {}}
    retries: {science: 1, infrastructure: 3, timeout: 1, out_of_memory: 1, collection: 2, staging: 3, lost: 2}
    circuit_threshold: 5
    quality: []
    retention: {keep: always}
"""
CHARACTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
TEXT = st.text(CHARACTERS, max_size=20) | st.sampled_from(
    ["yes", "1.0", "2026-03-07", "~", "a: b", "- a", "# a", "a\nb\n", "\x85", "a\u2028b", "\ufeff"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

LIMITS: list[dict[str, Any]] = [
    {"metric": "rms.k", "maximum": 0.5, "blocking": True},
    {"metric": "flagged", "name": "few_flagged", "minimum": 0, "maximum": 0.25},
]


@st.composite
def versions(draw: st.DrawFn) -> list[dict[str, Any]]:
    flags = {name: st.booleans() for name in ("released", "withdrawn", "cosmetic")}
    image: dict[str, Any] = {"image": "oras://x/y@z", "sha256": "e" * 64, "reprocess_from": "0.0.1"}
    command: dict[str, Any] = {"command": ["{python}", draw(TEXT.filter(bool))], "code": ["a.py", "b/c.py"]}
    rest = draw(st.sampled_from([image, command, image | command]))
    return [{"version": number, **rest, **draw(st.fixed_dictionaries(flags))} for number in ["0.0.1", "2.0.10"]]


@st.composite
def declarations(draw: st.DrawFn) -> PipelineDeclaration:
    names = draw(st.lists(st.sampled_from(["a", "b_1", "c", "9"]), min_size=1, max_size=4, unique=True))
    steps = [draw(steps_after(names[:index], name)) for index, name in enumerate(names)]
    cron = {"type": "cron", "expression": "*/5 0 * * mon", "time_zone": "Europe/Berlin"}
    rules = draw(st.lists(st.sampled_from([ARCHIVED, CO43]), max_size=2))
    document = {
        "schema_version": 1,
        "name": draw(st.sampled_from(["chai", "0-x_y"])),
        "description": draw(TEXT),
        "owners": draw(st.lists(st.sampled_from(["a@b.org", "team:x"]), max_size=2)),
        "mode": draw(st.sampled_from(["standing", "ad_hoc"])),
        "trigger": draw(st.sampled_from([{"type": "manual"}, {"type": "continuous"}, cron])),
        "priority": draw(st.integers(-9, 9)),
        "max_in_flight": draw(st.none() | st.integers(1, 9)),
        "partition_horizon_days": draw(st.none() | st.integers(1, 9)),
        "enabled": draw(st.none() | st.booleans()),
        "processing_location": draw(st.sampled_from(["local", "cluster"])),
        "data_grouping": {"name": "g", "description": draw(TEXT), "rules": rules},
        "software": [{"name": "s", "description": draw(TEXT), "versions": draw(versions())}],
        "steps": draw(st.permutations(steps)),
    }
    return PipelineDeclaration.model_validate(document)


@st.composite
def steps_after(draw: st.DrawFn, earlier: list[str], name: str) -> dict[str, Any]:
    escalation = {"factor": 1.5, "max_memory_gb": 99, "max_time_hours": 99}
    return {
        "name": name,
        "description": draw(TEXT),
        "depends_on": draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else [],
        "group_by": draw(st.lists(st.sampled_from(["source", "line", "Source.id"]), unique=True)),
        "when": draw(st.sampled_from([None, "any", "all"])),
        "final": draw(st.none() | st.booleans()),
        "cooldown_seconds": draw(st.integers(0, 9)),
        "settle_seconds": draw(st.integers(0, 9)),
        "software": "s",
        "version": draw(st.sampled_from(["0.0.1", "2.0.10"])),
        "version_policy": draw(st.sampled_from(["pinned", "compatible", "latest"])),
        "parameters": draw(st.dictionaries(TEXT, JSON, max_size=3)),
        "resources": {"cpus": draw(st.integers(1, 9)), "memory_gb": draw(st.floats(0.1, 9))},
        "retries": {"science": draw(st.integers(0, 9))},
        "escalation": draw(st.none() | st.just(escalation)),
        "max_in_flight": draw(st.none() | st.integers(1, 9)),
        "retention": draw(st.sampled_from([None, {"keep": "always"}, {"keep": "days", "days": 7}])),
        "quality": draw(st.lists(st.sampled_from(LIMITS), unique_by=lambda limit: str(limit["metric"]))),
    }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(declaration=declarations())
def test_applying_an_export_changes_nothing(world: OpsDb, declaration: PipelineDeclaration) -> None:
    digests = {("s", number): CodeDigest("/programs/s", "f" * 64) for number in ("0.0.1", "2.0.10")}
    with world.read() as session:
        apply(session, declaration, code_digests=digests, applied_by="ada", now=NOON)
        session.expire_all()
        text = export(session, declaration.name)
        again = parse(text, file="export.yaml")
        assert plan_apply(session, again, code_digests=digests).differences == ()
        assert plan_apply(session, declaration, code_digests=digests).differences == ()
        changed = declaration.model_copy(update={"priority": 99})
        apply(session, changed, code_digests=digests, applied_by="ada", now=NOON)
        assert export(session, declaration.name, 1) == text


def test_an_export_reads_well(world: OpsDb) -> None:
    put(world, declared(steps=[step(parameters={"b": [1.0, {"y": True, "x": "1"}], "a": None})]))
    with world.read() as session:
        assert export(session, "chai") == EXPORTED


def test_an_export_contains_versions_of_other_declarations_and_unused_software(world: OpsDb) -> None:
    spare = {"name": "spare", "versions": [{"version": "1.0.0", "command": ["spare"]}]}
    software = [spare, {"name": "calibration", "versions": [version()]}]
    put(world, declared(software=software))
    put(
        world,
        declared(name="other", software=[{"name": "calibration", "versions": [version("1.1.0", withdrawn=True)]}]),
    )
    with world.read() as session:
        declaration = parse(export(session, "chai"), file="export.yaml")
        other = parse(export(session, "other"), file="export.yaml")
    found = {one.name: [(v.version, v.withdrawn) for v in one.versions] for one in declaration.software}
    assert found == {"calibration": [("1.0.0", False), ("1.1.0", True)], "spare": [("1.0.0", False)]}
    assert [one.name for one in other.software] == ["calibration"]
    before = dump(world)
    assert not put(world, declaration).changed
    assert dump(world) == before


def test_an_export_brings_a_pipeline_to_an_empty_database_and_an_earlier_revision_back(world: OpsDb) -> None:
    put(world, declared())
    put(world, declared(steps=[step(cooldown_seconds=9)], processing_location="cluster"))
    with world.read() as session:
        first = export(session, "chai", 1)
    applied = put(world, parse(first, file="export.yaml"))
    assert applied.revision == 3
    with world.read() as session:
        assert export(session, "chai") == first == export(session, "chai", 3)
        elsewhere = parse(first.replace("name: chai\n", "name: copy\n"), file="export.yaml")
        assert [str(one) for one in plan_apply(session, elsewhere, code_digests=DIGESTS).differences] == [
            "+ pipeline: copy"
        ]


def test_a_grouping_that_another_pipeline_edits_is_exported_as_it_is_and_in_earlier_revisions_as_it_was(
    world: OpsDb,
) -> None:
    put(world, declared())
    put(world, declared(priority=1))
    put(world, declared(name="other", data_grouping=grouping(description="edited elsewhere", rules=[CO43])))
    with world.read() as session:
        now, then = (parse(export(session, "chai", revision), file="export.yaml") for revision in (None, 1))
    assert (
        now.data_grouping
        == declared(data_grouping=grouping(description="edited elsewhere", rules=[CO43])).data_grouping
    )
    assert then.data_grouping == declared().data_grouping
    before = dump(world)
    assert not put(world, now).changed
    assert dump(world) == before


def test_an_unknown_pipeline_or_revision_lists_the_known_ones(world: OpsDb) -> None:
    put(world, declared())
    with world.read() as session:
        with pytest.raises(NotFound) as caught:
            export(session, "chay")
        assert str(caught.value) == "no pipeline 'chay'; known: chai"
        with pytest.raises(NotFound) as caught:
            export(session, "chai", 2)
        assert str(caught.value) == "no revision of pipeline chai '2'; known: 1"
