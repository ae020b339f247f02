"""All that is needed to execute a run, read from ops-db for a whole batch at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from ccat_models.raw.staging import readable_directories
from ccat_models.run.whole import whole_runs
from ccat_models.tables.base import PackageId, RunId
from ccat_models.tables.execution import Attempt, Purpose
from ccat_models.tables.execution import ExecutedReductionStep as Run
from ccat_models.tables.lineage import RunInputPackage, RunInputProduct
from ccat_models.tables.observation import ExecutedObsUnit
from ccat_models.tables.observatory import Instrument, InstrumentModule
from ccat_models.tables.pipelines import Pipeline, ReductionStep
from ccat_models.tables.products import DataProduct
from ccat_models.tables.raw_data import PackageContent, RawDataFile, RawDataPackage
from ccat_models.tables.space import RunSpace

_PARTITIONING = joinedload(Run.step).joinedload(ReductionStep.partitioning)


@dataclass(frozen=True)
class PackageBriefing:
    """A raw data package that a run reads, with the content it had when the run was requested.

    `replaced`: the package has other content now. `directory` is None if no readable copy of that content is on a disk.
    """

    id: PackageId
    name: str
    checksum: str
    metadata: Mapping[str, Any]
    executed_obs_unit: str
    instrument: str
    instrument_module: str
    directory: str | None
    files: tuple[RawDataFile, ...]
    replaced: bool

    @property
    def content(self) -> PackageContent:
        """Return the package's id and the checksum of that content."""
        return self.id, self.checksum


@dataclass(frozen=True)
class UpstreamBriefing:
    """A run whose products another run reads."""

    run: Run
    attempt_directory: str
    products: tuple[DataProduct, ...]


@dataclass(frozen=True)
class RunBriefing:
    """A run with its step, software, configuration and all its inputs, as a job needs them.

    Unlike a `RunReport`, which counts the inputs and shows the first, this has every file of every package: it is read
    for the runs that are about to be sent.
    """

    run: Run
    pipeline: str
    revision: int
    packages: tuple[PackageBriefing, ...]
    upstream: tuple[UpstreamBriefing, ...]


def brief(session: Session, run_ids: Sequence[RunId], location_id: int) -> dict[RunId, RunBriefing]:
    """Return the briefings of the runs, in a constant number of queries.

    Packages are looked for on the disks of the processing location's host.
    """
    runs = whole_runs(session, run_ids, _PARTITIONING)
    packages, upstream = _packages(session, run_ids, location_id), _upstream(session, run_ids)
    names = dict(session.execute(sa.select(Pipeline.id, Pipeline.name)).tuples().all())
    return {
        run.id: RunBriefing(
            run=run,
            pipeline=names[run.step.pipeline_id],
            revision=run.step_revision.pipeline_revision.number,
            packages=tuple(packages[run.id]),
            upstream=tuple(upstream[run.id]),
        )
        for run in runs.values()
    }


def _packages(session: Session, run_ids: Sequence[RunId], location_id: int) -> dict[RunId, list[PackageBriefing]]:
    read = (
        sa.select(RunInputPackage.run_id, RunInputPackage.checksum, RawDataPackage, ExecutedObsUnit.name)
        .add_columns(Instrument.name, InstrumentModule.name)
        .join(RawDataPackage, RawDataPackage.id == RunInputPackage.raw_data_package_id)
        .join(ExecutedObsUnit, ExecutedObsUnit.id == RawDataPackage.executed_obs_unit_id)
        .join(InstrumentModule, InstrumentModule.id == RawDataPackage.instrument_module_id)
        .join(Instrument, Instrument.id == InstrumentModule.instrument_id)
        .where(RunInputPackage.run_id.in_(run_ids))
        .order_by(RunInputPackage.run_id, RawDataPackage.name)
    )
    wanted = sa.select(RunInputPackage.raw_data_package_id).where(RunInputPackage.run_id.in_(run_ids))
    directories, files = readable_directories(session, wanted, location_id), _files(session, run_ids)
    packages: dict[RunId, list[PackageBriefing]] = defaultdict(list)
    for run_id, checksum, package, observation, instrument, module in session.execute(read).tuples():
        packages[run_id].append(
            PackageBriefing(
                id=package.id,
                name=package.name,
                checksum=checksum,
                metadata=package.metadata_,
                executed_obs_unit=observation,
                instrument=instrument,
                instrument_module=module,
                directory=directories.get((package.id, checksum)),
                files=tuple(files[package.id, checksum]),
                replaced=package.checksum != checksum,
            )
        )
    return packages


def _files(session: Session, run_ids: Sequence[RunId]) -> dict[PackageContent, list[RawDataFile]]:
    link = RunInputPackage
    files: dict[PackageContent, list[RawDataFile]] = defaultdict(list)
    read = sa.select(link.raw_data_package_id, link.checksum).where(link.run_id.in_(run_ids)).distinct().subquery()
    query = sa.select(RawDataFile).join(read, RawDataFile.of(read.c.raw_data_package_id, read.c.checksum))
    for file in session.scalars(query.order_by(RawDataFile.path)):
        files[file.raw_data_package_id, file.package_checksum].append(file)
    return files


def _upstream(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, list[UpstreamBriefing]]:
    links = session.execute(
        sa.select(RunInputProduct.run_id, DataProduct)
        .join(DataProduct, DataProduct.id == RunInputProduct.data_product_id)
        .where(RunInputProduct.run_id.in_(run_ids))
        .order_by(RunInputProduct.run_id, DataProduct.run_id, DataProduct.path)
    )
    read: dict[tuple[RunId, RunId], list[DataProduct]] = defaultdict(list)
    for run_id, product in links.tuples():
        read[run_id, product.run_id].append(product)
    runs = whole_runs(session, _producers(run_ids), _PARTITIONING)
    directories = _attempt_directories(session, run_ids)
    upstream: dict[RunId, list[UpstreamBriefing]] = defaultdict(list)
    for (run_id, producer), products in read.items():
        upstream[run_id].append(UpstreamBriefing(runs[producer], directories[producer], tuple(products)))
    return upstream


def _producers(run_ids: Sequence[RunId]) -> sa.Select[tuple[RunId]]:
    return sa.select(RunInputProduct.producer_run_id).where(RunInputProduct.run_id.in_(run_ids)).distinct()


def _attempt_directories(session: Session, run_ids: Sequence[RunId]) -> dict[RunId, str]:
    """Return each producer's last attempt directory; of a restored producer, that of the run which regenerated it."""
    attempts = (
        sa.select(Run.id, Attempt.directory)
        .outerjoin(RunSpace, RunSpace.run_id == Run.id)
        .join(Attempt, Attempt.run_id == sa.func.coalesce(RunSpace.restored_by_run_id, Run.id))
        .where(Run.id.in_(_producers(run_ids)), Attempt.directory.is_not(None), Attempt.purpose == Purpose.EXECUTE)
        .order_by(Run.id, Attempt.number)
    )
    return {run_id: directory for run_id, directory in session.execute(attempts).tuples() if directory}
