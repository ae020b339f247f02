"""What pipelines, steps and groupings are called in Dagster."""

from collections.abc import Mapping, Sequence

import dagster as dg

RAW = "raw"


def step_key(pipeline: str, step: str) -> dg.AssetKey:
    """Return the key of a step's asset, made of the very names, so that it can be read back."""
    return dg.AssetKey([pipeline, step])


def raw_key(grouping: str) -> dg.AssetKey:
    """Return the key of the asset that stands for a data grouping's raw data."""
    return dg.AssetKey([RAW, grouping])


def group_names(pipelines: Sequence[str]) -> Mapping[str, str]:
    """Return of each pipeline the name of its asset group, which takes no "-".

    Of two pipelines that would share one (a-b, a_b) the later gets a number at its end: what is shown already stays.
    """
    groups: dict[str, str] = {}
    for pipeline in pipelines:
        plain = pipeline.replace("-", "_")
        name, number = plain, 1
        while name in groups.values():
            number += 1
            name = f"{plain}_{number}"
        groups[pipeline] = name
    return groups


def op_name(group: str, step: str) -> str:
    """Return the name of a step's op: of the run's log lines, and of the place of its configuration."""
    return f"{group}__{step}"
