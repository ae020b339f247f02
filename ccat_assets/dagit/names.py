"""What pipelines, steps and groupings are called in Dagster."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from ccat_assets.dagit.snapshot import Snapshot

RAW = "raw"


@dataclass(frozen=True)
class StepName:
    """A step's names: `group` and `op` take no "-", the asset's key is made of the very names."""

    step_id: int
    pipeline: str
    step: str
    group: str
    op: str  # of the run's log lines, and of the place of its configuration

    @property
    def asset_key(self) -> dg.AssetKey:
        """Return the key of the step's asset."""
        return step_key(self.pipeline, self.step)


def step_key(pipeline: str, step: str) -> dg.AssetKey:
    """Return the key of a step's asset."""
    return dg.AssetKey([pipeline, step])


def overview_key(pipeline: str) -> dg.AssetKey:
    """Return the key of a pipeline's overview; no step's name has a capital letter."""
    return dg.AssetKey([pipeline, "Overview"])


def space_key(location: str) -> dg.AssetKey:
    """Return the key of what is used of a processing location; no pipeline's name has a capital letter."""
    return dg.AssetKey(["Space", location])


def raw_key(grouping: str) -> dg.AssetKey:
    """Return the key of the asset that stands for a data grouping's raw data."""
    return dg.AssetKey([RAW, grouping])


def step_names(snapshot: Snapshot) -> list[StepName]:
    """Return the names of all steps; those given to the older pipelines do not depend on the younger ones."""
    groups = _distinct(pipeline.name.replace("-", "_") for pipeline in snapshot.pipelines)
    named = [
        (pipeline.name, group, step)
        for pipeline, group in zip(snapshot.pipelines, groups, strict=True)
        for step in pipeline.steps
    ]
    ops = _distinct(f"{group}__{step.name}" for _, group, step in named)
    return [
        StepName(step.step_id, pipeline, step.name, group, op)
        for (pipeline, group, step), op in zip(named, ops, strict=True)
    ]


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield the names; one that was there before (of a-b and a_b) gets a number at its end."""
    seen: set[str] = set()
    for plain in names:
        name, number = plain, 1
        while name in seen:
            number += 1
            name = f"{plain}_{number}"
        seen.add(name)
        yield name
