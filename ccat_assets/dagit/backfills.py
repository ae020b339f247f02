"""What a Dagster run has to do for the other runs of its backfill, whose order Dagster does not know or gives up."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from ccat_assets.dagit.dagster_private import backfill_targets
from ccat_assets.dagit.names import StepName
from ccat_assets.dagit.snapshot import PipelineSnapshot

Targets = Mapping[str, Sequence[str]]
"""Sub-groups, by step."""


@dataclass(frozen=True)
class Neighbours:
    """What a run's backfill is for, besides the steps of the run itself.

    `earlier` are the sub-groups that these steps may depend on. Dagster has no mapping for steps of another
    granularity, so it begins their runs in any order. A run requests what is `earlier`, too: it would otherwise have to
    wait for a run that Dagster may begin only after this one has ended.

    `dropped` are the steps with the one sub-group `all` that Dagster knows to depend on these steps. Where one
    partition failed, it never begins a run for them, although they may be made from all others. `before_dropped` are
    the sub-groups that they depend on.
    """

    earlier: Targets = field(default_factory=dict)
    dropped: Mapping[StepName, Sequence[str]] = field(default_factory=dict)
    before_dropped: Targets = field(default_factory=dict)


def neighbours(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    pipeline: PipelineSnapshot,
    names: Collection[StepName],
    selected: Collection[StepName],
) -> Neighbours:
    """Return what the backfill of a run of the `selected` steps is for, by the `names` of the pipeline's steps."""
    by_asset = backfill_targets(instance, run)
    targets = {name: by_asset[name.asset_key] for name in names if by_asset.get(name.asset_key)}
    mine = {name.step for name in selected}
    dropped = {name: keys for name, keys in targets.items() if name.step in _dropped(pipeline, mine)}
    before_dropped = pipeline.upstreams_of({name.step for name in dropped})
    return Neighbours(_only(targets, pipeline.upstreams_of(mine)), dropped, _only(targets, before_dropped))


def _dropped(pipeline: PipelineSnapshot, failed: Collection[str]) -> set[str]:
    """Return the steps with the one sub-group `all` that are given up where some of the steps failed.

    Dagster follows the edges that have a mapping: between steps with the same sub-groups, and to one with `all`.
    """
    group_bys = {step.name: step.group_by for step in pipeline.steps}
    reached = set(failed)
    for step in pipeline.steps:
        followed = (up for up in step.upstreams if not step.group_by or group_bys[up] == step.group_by)
        if reached.intersection(followed):
            reached.add(step.name)
    return {name for name in reached - set(failed) if not group_bys[name]}


def _only(targets: Mapping[StepName, Sequence[str]], steps: Collection[str]) -> Targets:
    return {name.step: keys for name, keys in targets.items() if name.step in steps}
