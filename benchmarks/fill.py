"""Databases large enough to measure on, filled by a few statements each: no row is sent from here."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from benchmarks.world import NOON
from ccat_models import migrations
from ccat_models.gap.table import sub_group_gap
from ccat_models.grouping.portable_sql import LaterBy
from ccat_models.pipeline.view import PipelineView
from ccat_models.tables.base import UtcDateTime
from ccat_models.tables.execution import Attempt, AttemptState, RunStatus
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage
from ccat_models.tables.observation import ExecutedObsUnit, ObsUnit
from ccat_models.tables.pipelines import SubGroupMember
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from resources.ops_db import OpsDb
from tests.support.worlds.observatory import ObservatoryWorld

_TO_COMPLETED = (
    RunStatus.STAGING_DATA,
    RunStatus.SUBMITTED,
    RunStatus.COLLECTING_RESULTS,
    RunStatus.COMPLETED,
)
_FIRST_UNIT = 3  # the small observatory has two
_FACTORS = (2_654_435_761, 1_597_334_677, 3_812_015_801)
Values = dict[str, sa.SQLColumnExpression[Any]]


def observe(ops_db: OpsDb, base: Path, scans: int, per_unit: int) -> None:
    """Make the tables and archive so many scans of one package each, `per_unit` of them to an observation unit."""
    migrations.upgrade(ops_db.engine)
    ObservatoryWorld(ops_db, base).open()
    with ops_db.write() as session:
        for table, count, values in (
            (ObsUnit, -(-scans // per_unit), _unit),
            (ExecutedObsUnit, scans, lambda n: _scan(n, per_unit)),
            (RawDataPackage, scans, _package),
        ):
            numbers = _numbers(count)
            _insert(session, table, sa.select(numbers), values(sa.cast(numbers.c.n, sa.BigInteger)))
        if not ops_db.is_sqlite:  # rows that are added later get the next numbers
            for name in ("obs_unit", "executed_obs_unit", "raw_data_package"):
                rows = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"
                session.execute(sa.text(rows))


def complete_all(session: Session, pipeline: PipelineView, backend: str) -> None:
    """Let a step that was looked at and has never run be completed on all its sub-groups, status by status."""
    (step,) = pipeline.steps
    literal = _literals(Run, {"status": RunStatus.PENDING, "status_changed_at": NOON, "created_at": NOON})
    literal |= {name: sa.literal(getattr(step, name)) for name in ("step_id", "config_id")}
    literal |= {"step_revision_id": sa.literal(step.revision_id), "priority": sa.literal(0)}
    literal |= {"software_version_id": sa.literal(step.pinned_version_id), "requested_by": sa.literal("bench")}
    gap = sub_group_gap.c
    copied = {"sub_group_id": gap.sub_group_id, "reason": gap.reason, "input_count": gap.input_count}
    copied |= {f"input_lane_{i}": gap[f"lane_{i}"] for i in range(3)}
    _insert(session, Run, sa.select().where(gap.step_id == step.step_id), {**literal, **copied})
    member, package = SubGroupMember, RawDataPackage
    read = sa.select().select_from(Run).join(member, member.sub_group_id == Run.sub_group_id)
    ids: Values = {"run_id": Run.id, "raw_data_package_id": package.id, "checksum": package.checksum}
    _insert(session, RunInputPackage, read.join(package, package.id == member.raw_data_package_id), ids)
    _insert(session, Attempt, sa.select(), _attempt(backend))
    nothing = {"output_count": 0, **{f"output_lane_{i}": 0 for i in range(3)}}
    for status in _TO_COMPLETED:
        values = {"status": status, **(nothing if status is RunStatus.COMPLETED else {})}
        session.execute(sa.update(Run).values(values).execution_options(synchronize_session=False))


def settle(ops_db: OpsDb) -> None:
    """Do what autovacuum would do within some minutes; SQLite has none."""
    if not ops_db.is_sqlite:
        with ops_db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM (ANALYZE)"))
            connection.execute(sa.text("CHECKPOINT"))


def _numbers(count: int) -> sa.CTE:
    first = sa.select(sa.literal(0).label("n")).cte("numbers", recursive=True)
    return first.union_all(sa.select(first.c.n + 1).where(first.c.n < count - 1))


def _insert(session: Session, table: type[Any], rows: sa.Select[Any], values: Values) -> None:
    session.execute(sa.insert(table.__table__).from_select(list(values), rows.with_only_columns(*values.values())))


def _literals(table: type[Any], values: dict[str, Any]) -> Values:
    return {name: sa.literal(value, table.__table__.c[name].type) for name, value in values.items()}


def _name(prefix: str, n: sa.SQLColumnExpression[Any]) -> sa.ColumnElement[str]:
    return sa.literal(prefix, sa.Text).concat(sa.cast(n + 10_000_000, sa.Text))


def _unit(n: sa.ColumnElement[int]) -> Values:
    constants = _literals(ObsUnit, {"observing_program_id": 1, "source_id": 1, "obs_mode_id": 1})
    return {"id": n + _FIRST_UNIT, "name": _name("unit-", n), **constants}


def _scan(n: sa.ColumnElement[int], per_unit: int) -> Values:
    start = LaterBy(sa.literal(NOON, UtcDateTime()), n * int(timedelta(minutes=1).total_seconds()))
    unit = n // per_unit + _FIRST_UNIT
    return {"id": n + 1, "name": _name("scan-", n), "obs_unit_id": unit, "start_time": start, "end_time": start}


def _package(n: sa.ColumnElement[int]) -> Values:
    lanes = {f"lane_{i}": (n + 1) * factor % 2**40 for i, factor in enumerate(_FACTORS)}
    constants = {"instrument_module_id": 1, "state": PackageState.ARCHIVED, "size_bytes": 0, "metadata": {}}
    names = {"name": _name("package-", n), "checksum": _name("0" * 56, n)}
    fixed = _literals(RawDataPackage, {**constants, "created_at": NOON, "archived_at": NOON})
    return {"id": n + 1, "executed_obs_unit_id": n + 1, **names, **lanes, **fixed}


def _attempt(backend: str) -> Values:
    constants = {"number": 1, "sends": 1, "state": AttemptState.ENDED, "backend": backend, "resources": {}}
    fixed = _literals(Attempt, {**constants, "created_at": NOON})
    return {"run_id": Run.id, "submission_key": _name("0" * 24, Run.id), **fixed}
