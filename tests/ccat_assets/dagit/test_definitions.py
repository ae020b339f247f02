import os
import subprocess  # noqa: TID251 - starts Dagster's own program
import sys
from pathlib import Path

import dagster as dg
import pytest

from ccat_assets.dagit.build import build
from ccat_assets.dagit.names import step_key, step_names
from ccat_assets.dagit.snapshot import Snapshot
from ccat_models.pipeline.values import RESERVED_CHECKS
from tests.support.parts.tree import PROGRAMS
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld

ROOT = Path(__file__).parents[3]
READ, CLEAN, JOIN = (step_key("letters", step) for step in ("read", "clean", "join"))
RAW = dg.AssetKey(["raw", "letters-data"])


def definitions(lab: DagsterWorld) -> dg.Definitions:
    return build(lab.snapshot(), lab.application)


def test_each_step_is_an_asset_with_its_edges(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a")
    graph = definitions(lab).resolve_asset_graph()
    assert {key: graph.get(key).parent_keys for key in (RAW, READ, CLEAN, JOIN)} == {
        RAW: set(),
        READ: {RAW},
        CLEAN: {READ},
        JOIN: {CLEAN},
    }
    assert {graph.get(key).group_name for key in (READ, CLEAN, JOIN)} == {"letters"}
    assert not graph.get(RAW).is_executable


def test_steps_that_share_their_sub_groups_share_one_definition_of_partitions(lab: DagsterWorld) -> None:
    lab.declare("a")
    graph = definitions(lab).resolve_asset_graph()
    cuts = {key: graph.get(key).partitions_def for key in (RAW, READ, CLEAN, JOIN)}
    assert cuts[RAW] is cuts[READ] is cuts[CLEAN]
    names = {key: cut.name for key, cut in cuts.items() if isinstance(cut, dg.DynamicPartitionsDefinition)}
    assert names[READ] == "ccat_letters-data:executed_obs_unit"
    assert names[JOIN] == "ccat_letters-data:source"


def test_only_equal_granularities_are_mapped_one_to_one(lab: DagsterWorld) -> None:
    lab.declare("a")
    specs = {spec.key: spec for spec in definitions(lab).resolve_all_asset_specs()}
    mappings = {key: [dep.partition_mapping for dep in specs[key].deps] for key in (READ, CLEAN, JOIN)}
    assert mappings[READ] == mappings[CLEAN] == [None]
    assert mappings[JOIN] == [dg.SpecificPartitionsPartitionMapping([])]


def test_a_step_for_all_data_has_the_one_key_all(lab: DagsterWorld) -> None:
    lab.declare("a")
    text = pipeline_yaml(lab.calls, name="whole").replace("[executed_obs_unit]", "[]").replace("[source]", "[]")
    lab.observatory.declare(text, lab.code)
    graph = definitions(lab).resolve_asset_graph()
    cut = graph.get(step_key("whole", "read")).partitions_def
    assert cut is not None
    assert cut.get_partition_keys() == ["all"]
    assert graph.get(step_key("whole", "join")).partitions_def is cut
    assert graph.get(dg.AssetKey(["raw", "whole-data"])).partitions_def is None


def test_checks_have_a_result_for_each_sub_group(lab: DagsterWorld) -> None:
    lab.declare("a")
    graph = definitions(lab).resolve_asset_graph()
    specs = [spec for asset in graph.assets_defs for spec in asset.check_specs]
    assert {(spec.asset_key, spec.name) for spec in specs} == {
        (key, name) for key in (READ, CLEAN, JOIN) for name in RESERVED_CHECKS
    }
    assert all(spec.partitions_def is graph.get(spec.asset_key).partitions_def for spec in specs)
    assert not any(spec.blocking for spec in specs)


def test_an_asset_says_what_it_does(lab: DagsterWorld) -> None:
    lab.declare("a", cooldown="5400")
    specs = {spec.key: spec for spec in definitions(lab).resolve_all_asset_specs()}
    text = specs[JOIN].description or ""
    for fact in (
        "letters 1.0.0 (plain process, no container): the newest release of this major version",
        "**One run per** source",
        "the products of clean, once all of them are there",
        "**Cooldown** 90 min",
        "**Final step**",
    ):
        assert fact in text
    assert "the raw data of letters-data" in (specs[READ].description or "")
    assert specs[JOIN].owners == ["team@example.org"]
    assert specs[JOIN].kinds == {"python"}
    assert "RawDataPackage.state eq `archived`" in (specs[RAW].description or "")


def test_the_code_version_follows_version_code_and_parameters(lab: DagsterWorld) -> None:
    lab.declare("a")
    before = {spec.key: spec.code_version for spec in definitions(lab).resolve_all_asset_specs()}
    lab.declare(seconds="1")
    after = {spec.key: spec.code_version for spec in definitions(lab).resolve_all_asset_specs()}
    assert (before[READ] or "").startswith("1.0.0-")
    assert before[READ] != after[READ]


def test_names_that_dagster_cannot_distinguish_are_made_distinct(lab: DagsterWorld) -> None:
    lab.declare("a")
    for name in ("a-b", "a_b", "a-b-2"):
        lab.observatory.declare(pipeline_yaml(lab.calls, name=name), lab.code)
    names = step_names(lab.snapshot())
    groups = {name.pipeline: name.group for name in names}
    assert groups == {"letters": "letters", "a-b": "a_b", "a_b": "a_b_2", "a-b-2": "a_b_2_2"}
    assert len(names) == 12
    ops = {pipeline: [name.op for name in names if name.pipeline == pipeline] for pipeline in groups}
    assert ops == {
        pipeline: [f"{group}__executed_obs_unit"] * 2 + [f"{group}__source"] for pipeline, group in groups.items()
    }
    assert len(list(definitions(lab).resolve_all_asset_specs())) == 22


def test_the_newest_run_says_which_metrics_there_are(lab: DagsterWorld) -> None:
    lab.declare("a")
    lab.run_without_dagster()
    steps = {step.name: step.metrics for step in lab.snapshot().pipelines[0].steps}
    assert steps == {"read": ("letters",), "clean": ("letters",), "join": ("letters",)}


def test_a_snapshot_is_plain_json_and_read_in_few_queries(lab_on_each: DagsterWorld) -> None:
    lab = lab_on_each
    lab.declare("a")
    count = lab.count_queries(lab.snapshot)
    for name in ("b", "c", "d"):
        lab.observatory.declare(pipeline_yaml(lab.calls, name=name), lab.code)
    assert lab.count_queries(lab.snapshot) == count <= 8
    snapshot = lab.snapshot()
    assert Snapshot.model_validate_json(snapshot.model_dump_json()) == snapshot


@pytest.mark.slow
def test_dagster_finds_the_code_location_valid(lab: DagsterWorld) -> None:
    lab.declare("a")
    said = validate(lab.observatory.base, str(lab.application.ops_db.url))
    assert "All code locations passed validation" in said
    assert "no pipelines to show" not in said


@pytest.mark.slow
def test_the_code_location_loads_empty_where_there_is_no_ops_db(tmp_path: Path) -> None:
    said = validate(tmp_path, f"sqlite:///{tmp_path}/nothing.sqlite")
    assert "All code locations passed validation" in said
    assert f"no pipelines to show: no ops-db at {tmp_path}/nothing.sqlite: run `ccat init` first" in said
    assert not (tmp_path / "nothing.sqlite").exists()


@pytest.mark.slow
def test_importing_the_code_location_does_nothing(tmp_path: Path) -> None:
    code = "import ccat_assets.definitions, pathlib; print(list(pathlib.Path().iterdir()))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"CCAT_HOME": "/nowhere", "CCAT_UNKNOWN": "x", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "[]\n"


def validate(home: Path, database_url: str) -> str:
    environment = {
        "PATH": os.defpath,
        "CCAT_HOME": str(home),
        "CCAT_DATABASE_URL": database_url,
        "DAGSTER_HOME": str(home),
    }
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    found = subprocess.run(
        [PROGRAMS / "dagster", "definitions", "validate", "-w", ROOT / "workspace.yaml"],
        cwd=home,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said
    return said
