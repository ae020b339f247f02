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

    `dropped` are the steps with the one sub-group `all` that depend on these steps. Where one partition failed, Dagster
    never begins a run for them, although they may be made from all others. `before_dropped` are the sub-groups that
    they depend on.
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
    whole = {step.name for step in pipeline.steps if not step.group_by and mine & pipeline.upstreams_of([step.name])}
    dropped = {name: keys for name, keys in targets.items() if name.step in whole - mine}
    before_dropped = pipeline.upstreams_of({name.step for name in dropped})
    return Neighbours(_only(targets, pipeline.upstreams_of(mine)), dropped, _only(targets, before_dropped))


def _only(targets: Mapping[StepName, Sequence[str]], steps: Collection[str]) -> Targets:
    return {name.step: keys for name, keys in targets.items() if name.step in steps}
