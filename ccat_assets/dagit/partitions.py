"""Sub-groups as Dagster's partitions: steps with the same data grouping and group_by share one definition."""

from collections.abc import Sequence

import dagster as dg

from ccat_assets.dagit.budget import Budget
from ccat_assets.dagit.dagster_private import STORAGE_CONFLICT
from ccat_assets.dagit.snapshot import Snapshot
from ccat_models.chunks import chunks
from ccat_models.clock import Clock, system_clock
from ccat_models.sub_group.activity import Marks, come_into_sight, in_sight, sights
from ccat_models.sub_group.dimensions import OBSERVATIONS
from ccat_models.sub_group.keys import ALL
from resources.ops_db import Session

_FASTER_ONES = 20  # processes that may add the same keys at the same time
KEYS_IN_ONE_CALL = 10_000  # for more, Dagster's SQLite storage fails with "too many SQL variables"


def partitions_name(grouping: str, group_by: Sequence[str]) -> str:
    """Return the name of the partitions in Dagster; code locations share these names, hence the prefix."""
    return f"ccat_{grouping}:{'+'.join(group_by)}"


class Partitions:
    """Gives steps that share their sub-groups the same definition object: Dagster then maps them one to one.

    `group_by: []` has the one key `all`, in a static definition; keys of all others are added as they appear.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._observed = {
            pipeline.grouping
            for pipeline in snapshot.pipelines
            for step in pipeline.steps
            if step.group_by == OBSERVATIONS
        }
        self._all = dg.StaticPartitionsDefinition([ALL])
        self._dynamic: dict[str, dg.DynamicPartitionsDefinition] = {}

    def of(self, grouping: str, group_by: Sequence[str]) -> dg.PartitionsDefinition[str]:
        """Return the partitions of a data grouping for a step's `group_by`."""
        if not group_by:
            return self._all
        name = partitions_name(grouping, group_by)
        return self._dynamic.setdefault(name, dg.DynamicPartitionsDefinition(name=name))

    def of_raw(self, grouping: str) -> dg.PartitionsDefinition[str] | None:
        """Return the partitions of a grouping's raw data: by observation if any step is, else None."""
        return self.of(grouping, OBSERVATIONS) if grouping in self._observed else None


def add_keys(instance: dg.DagsterInstance, name: str, keys: Sequence[str]) -> None:
    """Add those of at most 10,000 keys that Dagster lacks; other processes may add the same ones at the same time."""
    for _ in range(_FASTER_ONES):
        try:
            return instance.add_dynamic_partitions(name, keys)
        except STORAGE_CONFLICT:  # Dagster's SQLite storage reads, then inserts: another process came between
            continue
    return instance.add_dynamic_partitions(name, keys)


def sync_partitions(
    instance: dg.DagsterInstance,
    session: Session,
    *,
    clock: Clock = system_clock,
    after: Marks | None = None,
    budget: Budget | None = None,
) -> int:
    """Add the keys of sub-groups within the partition horizon that Dagster lacks; return how many. Removes none.

    With `after`, only keys that may have appeared since those marks are added, without asking Dagster which it has.
    Where the budget was spent, some may be missing.
    """
    added, limit = 0, budget or Budget()
    for sight in sights(session, clock()):
        name = partitions_name(sight.grouping, sight.group_by)
        known = set(instance.get_dynamic_partitions(name)) if after is None else set()
        keys = in_sight(session, sight) if after is None else come_into_sight(session, sight, after)
        missing = (key for key in keys if key not in known)
        for chunk in chunks(missing, KEYS_IN_ONE_CALL):
            if limit.spent:
                return added
            add_keys(instance, name, chunk)
            added += len(chunk)
    return added


def hide_partitions(
    instance: dg.DagsterInstance, session: Session, *, clock: Clock = system_clock, budget: Budget | None = None
) -> int:
    """Remove the keys of sub-groups beyond their pipelines' partition horizon from Dagster; return how many.

    Their events stay in Dagster's history, and Dagit shows them again if the keys are added again.
    """
    removed, limit = 0, budget or Budget()
    for sight in sights(session, clock()):
        if sight.since is None:
            continue
        name = partitions_name(sight.grouping, sight.group_by)
        shown = instance.get_dynamic_partitions(name)
        near = set(in_sight(session, sight))
        for key in shown:
            if key in near:
                continue
            if limit.spent:
                return removed
            instance.delete_dynamic_partition(name, key)
            removed += 1
    return removed
