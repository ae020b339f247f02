"""The names of pipelines, steps and groupings in Dagster."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from ccat_assets.dagit.snapshot import PipelineSnapshot, Snapshot
from ccat_models.sub_group.keys import ALL

RAW = "raw"


@dataclass(frozen=True)
class StepName:
    """A step's names in ops-db and in Dagster, where `group` and `op` may not contain "-"."""

    step_id: int
    pipeline: str
    step: str
    group: str
    op: str  # shared by steps that one op runs; appears in log lines, and in the path of a run's configuration

    @property
    def asset_key(self) -> dg.AssetKey:
        """Return the key of the step's asset."""
        return step_key(self.pipeline, self.step)


def step_key(pipeline: str, step: str) -> dg.AssetKey:
    """Return the key of a step's asset."""
    return dg.AssetKey([pipeline, step])


def overview_key(pipeline: str | None = None) -> dg.AssetKey:
    """Return the key of the overview of a pipeline, or of all; pipelines and steps have names in lower case."""
    return dg.AssetKey(["Overview"] if pipeline is None else [pipeline, "Overview"])


def space_key(location: str) -> dg.AssetKey:
    """Return the key of the asset of a processing location's space; pipelines' names are in lower case."""
    return dg.AssetKey(["Space", location])


def schedule_names(snapshot: Snapshot) -> dict[str, str]:
    """Return the name of the schedule of each pipeline with a cron trigger; no sensor has such a name."""
    groups = {name.pipeline: name.group for name in step_names(snapshot)}
    return {one.name: f"{groups[one.name]}_rounds" for one in snapshot.pipelines if one.cron is not None}


def raw_key(grouping: str) -> dg.AssetKey:
    """Return the key of the asset that represents a data grouping's raw data."""
    return dg.AssetKey([RAW, grouping])


def step_names(snapshot: Snapshot) -> list[StepName]:
    """Return the names of all steps; a pipeline that is added later never changes the names of older ones."""
    groups = list(_distinct(pipeline.name.replace("-", "_") for pipeline in snapshot.pipelines))
    named = [
        (pipeline.name, group, step)
        for pipeline, group in zip(snapshot.pipelines, groups, strict=True)
        for step in pipeline.steps
    ]
    shared = [(group, op) for pipeline, group in zip(snapshot.pipelines, groups, strict=True) for op in _ops(pipeline)]
    plain = {key: f"{key[0]}__{'_'.join(key[1][0]) or ALL}" for key in shared}
    ops = dict(zip(plain, _distinct(plain.values()), strict=True))
    return [
        StepName(step.step_id, pipeline, step.name, group, ops[key])
        for (pipeline, group, step), key in zip(named, shared, strict=True)
    ]


def _ops(pipeline: PipelineSnapshot) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield, for each step, what the steps that share its op have in common: `group_by`, and how often it changes.

    One op executes those steps of a Dagster run that have the same sub-groups: Dagster would skip the later ones of
    several ops, as it does wherever an op yields no output. Between steps that share an op there is none of another
    `group_by`: such a step is executed by another Dagster run, after the former and before the latter.
    """
    changes: dict[str, int] = {}
    group_bys = {step.name: step.group_by for step in pipeline.steps}
    for step in pipeline.steps:
        before = (changes[up] + (group_bys[up] != step.group_by) for up in step.upstreams)
        changes[step.name] = max(before, default=0)
        yield step.group_by, changes[step.name]


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield the names; a repeated one (a-b and a_b both become a_b) gets a number at its end."""
    seen: set[str] = set()
    for plain in names:
        name, number = plain, 1
        while name in seen:
            number += 1
            name = f"{plain}_{number}"
        seen.add(name)
        yield name
