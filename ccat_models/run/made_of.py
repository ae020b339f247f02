"""What completed runs were made from, and whether their products can be regenerated from it."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from ccat_models.tables.base import RunId
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.pipelines import ReductionSoftwareVersion
from ccat_models.tables.places import READABLE, DataLocation
from ccat_models.tables.places import RawDataPackagePhysicalCopy as PackageCopy
from ccat_models.tables.raw_data import PackageState, RawDataPackage
from ccat_models.tables.space import GONE, NOT_THERE, RunSpace, SpaceState

_there = aliased(RunSpace, name="there_space")
_instead = aliased(RunSpace, name="instead_space")
_Runs = Collection[RunId] | sa.Select[tuple[RunId]]


def cannot_regenerate(run_ids: _Runs) -> sa.CompoundSelect[tuple[RunId]]:
    """Return the runs whose products cannot be regenerated: something they were made from is gone or has changed.

    The same is checked for the purged runs that would have to be regenerated first.
    """
    return sa.union(*_changed(behind(run_ids)))


def cannot_regenerate_now(run_ids: _Runs) -> sa.CompoundSelect[tuple[RunId]]:
    """Return these runs, and those whose raw data has no readable copy now; one may become readable again."""
    made_of = behind(run_ids)
    return sa.union(*_changed(made_of), _without_raw_data(made_of))


def behind(run_ids: _Runs) -> sa.CTE:
    """Return pairs of a run (`run_id`) and a run to regenerate before it (`behind_id`), including the run itself."""
    read = RunInputProduct
    given = run_ids if isinstance(run_ids, sa.Select) else sa.select(Run.id).where(Run.id.in_(run_ids))
    (begun,) = given.subquery("begun").c
    found = sa.select(begun.label("run_id"), begun.label("behind_id")).cte("behind", recursive=True)
    further = (
        sa.select(found.c.run_id, sa.func.coalesce(_instead.run_id, _there.run_id))
        .join(read, read.run_id == found.c.behind_id)
        .join(_there, _there.run_id == read.producer_run_id)
        .outerjoin(_instead, _instead.run_id == _there.replaced_by_run_id)
        .where(_there.state.in_((*NOT_THERE, *GONE)))  # few rows, found by an index
        .where(sa.func.coalesce(_instead.state, _there.state) != SpaceState.PRESENT)
    )
    return found.union(further)


def _changed(made_of: sa.CTE) -> list[sa.Select[tuple[RunId]]]:
    """Return the runs whose raw data changed, whose input products are lost, and whose software was withdrawn."""
    read, package, run = RunInputPackage, RawDataPackage, aliased(Run)
    of = sa.select(made_of.c.run_id).select_from(made_of)
    changed = (
        of.join(read, read.run_id == made_of.c.behind_id)
        .join(package, package.id == read.raw_data_package_id)
        .where(sa.or_(package.state != PackageState.ARCHIVED, package.checksum.is_distinct_from(read.checksum)))
    )
    lost = (
        of.join(RunInputProduct, RunInputProduct.run_id == made_of.c.behind_id)
        .join(_there, _there.run_id == RunInputProduct.producer_run_id)
        .outerjoin(_instead, _instead.run_id == _there.replaced_by_run_id)
        .where(_there.state.in_(GONE), sa.func.coalesce(_instead.state, _there.state) == SpaceState.LOST)
    )
    withdrawn = (
        of.join(run, run.id == made_of.c.behind_id)
        .join(ReductionSoftwareVersion, ReductionSoftwareVersion.id == run.software_version_id)
        .where(ReductionSoftwareVersion.withdrawn)
    )
    return [changed, lost, withdrawn]


def _without_raw_data(made_of: sa.CTE) -> sa.Select[tuple[RunId]]:
    """Return the runs that read a package without a readable copy at an active location."""
    read, copy = RunInputPackage, PackageCopy
    readable = (
        sa.select(sa.literal(1))
        .select_from(copy)
        .join(DataLocation, DataLocation.id == copy.data_location_id)
        .where(copy.raw_data_package_id == read.raw_data_package_id, copy.status.in_(READABLE), DataLocation.active)
        .correlate(read)
    )
    of = sa.select(made_of.c.run_id).select_from(made_of)
    return of.join(read, read.run_id == made_of.c.behind_id).where(~readable.exists())
