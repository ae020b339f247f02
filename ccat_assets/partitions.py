"""Sub-groups as Dagster's partitions: one definition a data grouping and group_by, whatever steps share it."""

from collections.abc import Iterator, Sequence
from itertools import islice

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_assets.snapshot import Snapshot
from ccat_models.sub_group.keys import ALL
from ccat_models.tables.pipelines import DataGrouping, Partitioning, SubGroup

KEYS_IN_ONE_CALL = 10_000  # Dagster's SQLite storage fails with "too many SQL variables" on larger ones
OBSERVATIONS = ("executed_obs_unit",)


def partitions_name(grouping: str, group_by: Sequence[str]) -> str:
    """Return the name of the keys in Dagster, whose instance has one room of names for all code locations."""
    return f"ccat_{grouping}:{'+'.join(group_by)}"


class Partitions:
    """Gives steps that share their sub-groups the same definition object, which makes their edge one to one.

    `group_by: []` has its one key `all` from the beginning: a static definition, which nobody has to add a key to.
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
        """Return the definition of a data grouping cut by these dimensions."""
        if not group_by:
            return self._all
        name = partitions_name(grouping, group_by)
        return self._dynamic.setdefault(name, dg.DynamicPartitionsDefinition(name=name))

    def of_raw(self, grouping: str) -> dg.PartitionsDefinition[str] | None:
        """Return the definition of a grouping's raw data: by observation where any step is, else none."""
        return self.of(grouping, OBSERVATIONS) if grouping in self._observed else None


def sync_partitions(instance: dg.DagsterInstance, session: Session) -> int:
    """Add the keys of sub-groups that Dagster lacks and return how many; it removes none, so history stays shown."""
    added = 0
    query = sa.select(Partitioning.id, DataGrouping.name, Partitioning.group_by).join(
        DataGrouping, DataGrouping.id == Partitioning.data_grouping_id
    )
    for partitioning_id, grouping, group_by in session.execute(query.where(Partitioning.group_by != "")).tuples():
        name = partitions_name(grouping, group_by.split("+"))
        known = set(instance.get_dynamic_partitions(name))
        keys = sa.select(SubGroup.key).where(SubGroup.partitioning_id == partitioning_id).order_by(SubGroup.id)
        missing = (key for key in session.scalars(keys) if key not in known)
        for chunk in _chunks(missing):
            instance.add_dynamic_partitions(name, chunk)
            added += len(chunk)
    return added


def _chunks(keys: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(keys, KEYS_IN_ONE_CALL)):
        yield chunk
