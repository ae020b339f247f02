from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.grouping.filter_engine import packages_matching
from ccat_models.grouping.rules import CheckedRule
from ccat_models.tables.observation import ExecutedObsUnit
from ccat_models.tables.observatory import InstrumentModule
from ccat_models.tables.raw_data import PackageState, RawDataPackage


@dataclass(frozen=True)
class PreviewMember:
    """One package of a preview."""

    name: str
    executed_obs_unit: str
    instrument_module: str
    state: PackageState
    size_bytes: int


@dataclass(frozen=True)
class Preview:
    """The number of packages that the rules select, whatever their state, and the first of them by name."""

    count: int
    members: tuple[PreviewMember, ...]


def preview(
    session: Session, rules: Sequence[CheckedRule], limit: int, instrument_module_id: int | None = None
) -> Preview:
    """Return what the rules select now, at most `limit` packages by name."""
    matching = packages_matching(rules, instrument_module_id)
    count = session.scalar(sa.select(sa.func.count()).select_from(matching.subquery())) or 0
    first = (
        sa.select(
            RawDataPackage.name,
            ExecutedObsUnit.name,
            InstrumentModule.name,
            RawDataPackage.state,
            RawDataPackage.size_bytes,
        )
        .join(ExecutedObsUnit, RawDataPackage.executed_obs_unit_id == ExecutedObsUnit.id)
        .join(InstrumentModule, RawDataPackage.instrument_module_id == InstrumentModule.id)
        .where(RawDataPackage.id.in_(matching))
        .order_by(RawDataPackage.name)
        .limit(limit)
    )
    return Preview(count, tuple(PreviewMember(*row) for row in session.execute(first)))
