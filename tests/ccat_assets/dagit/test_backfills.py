"""Which steps Dagster gives up in a backfill once a partition of another step has failed."""

import pytest

from ccat_assets.dagit.backfills import _dropped
from ccat_assets.dagit.snapshot import PipelineSnapshot
from tests.support.programs.tiny import pipeline_yaml
from tests.support.worlds.in_dagster import DagsterWorld


def snapshot(lab: DagsterWorld, *wholes: tuple[str, str]) -> PipelineSnapshot:
    """Return the pipeline read, clean (per scan), join (per source), with further steps that read all of another."""
    text = pipeline_yaml(lab.calls)
    join = text[text.rindex("  - name: join") :]
    for name, reads in wholes:
        text += join.replace("join", name).replace("[clean]", f"[{reads}]").replace("[source]", "[]")
    lab.observatory.scan(0, "a")
    lab.observatory.declare(text, lab.code)
    return lab.snapshot().pipelines[0]


@pytest.mark.parametrize(
    ("failed", "dropped"),
    [
        (["read", "clean"], {"total", "report"}),
        (["read"], {"total", "report"}),
        (["join"], {"map"}),
        (["total"], {"report"}),
        (["map"], set()),
    ],
)
def test_only_steps_that_dagster_knows_to_depend_on_others_are_given_up(
    lab: DagsterWorld, failed: list[str], dropped: set[str]
) -> None:
    pipeline = snapshot(lab, ("map", "join"), ("total", "clean"), ("report", "total"))
    assert _dropped(pipeline, failed) == dropped
