"""The rows of ops-db that a declaration refers to by name."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.parts import DataGroupingDeclaration
from ccat_models.pipeline.problems import Problem, invalid
from ccat_models.pipeline.versions import version_rank
from ccat_models.tables.observatory import InstrumentModule
from ccat_models.tables.pipelines import DataGrouping, ReductionSoftware, ReductionSoftwareVersion
from ccat_models.tables.places import DataLocation, LocationType


@dataclass(frozen=True)
class Known:
    """Rows that a declaration may refer to, by name; versions only of the programs it names."""

    locations: dict[str, int]
    modules: dict[str, int]
    groupings: dict[str, DataGrouping]
    software: dict[str, ReductionSoftware]
    versions: dict[tuple[str, str], ReductionSoftwareVersion]

    def module_name(self, module_id: int | None) -> str | None:
        """Return the name of an instrument module, None for None."""
        return next((name for name, known in self.modules.items() if known == module_id), None)

    def versions_of(self, software: str) -> dict[str, ReductionSoftwareVersion]:
        """Return a program's registered versions, oldest first."""
        return {version: row for (name, version), row in self.versions.items() if name == software}


def load_known(session: Session, software: set[str]) -> Known:
    """Return the rows that a declaration may refer to, with the versions of these programs."""
    processing = DataLocation.location_type == LocationType.PROCESSING
    locations = sa.select(DataLocation.name, DataLocation.id).where(processing).order_by(DataLocation.name)
    modules = sa.select(InstrumentModule.name, InstrumentModule.id).order_by(InstrumentModule.name)
    groupings = session.scalars(sa.select(DataGrouping).order_by(DataGrouping.name))
    programs = session.scalars(sa.select(ReductionSoftware).order_by(ReductionSoftware.name))
    versions = session.execute(
        sa.select(ReductionSoftware.name, ReductionSoftwareVersion)
        .join(ReductionSoftwareVersion.software)
        .where(ReductionSoftware.name.in_(software))
        .order_by(ReductionSoftware.name, ReductionSoftwareVersion.rank)
    )
    return Known(
        locations=dict(session.execute(locations).tuples().all()),
        modules=dict(session.execute(modules).tuples().all()),
        groupings={grouping.name: grouping for grouping in groupings},
        software={program.name: program for program in programs},
        versions={(name, version.version): version for name, version in versions},
    )


def software_named(declaration: PipelineDeclaration) -> set[str]:
    """Return the names of all programs that a declaration defines or uses."""
    return {program.name for program in declaration.software} | {step.software for step in declaration.steps}


def check_references(declaration: PipelineDeclaration, known: Known) -> None:
    """Raise InvalidDeclaration with every unknown location, grouping, module, program and version."""
    problems = [*_places(declaration, known), *_programs(declaration, known)]
    if problems:
        raise invalid(problems)


def _places(declaration: PipelineDeclaration, known: Known) -> Iterator[Problem]:
    location, grouping = declaration.processing_location, declaration.data_grouping
    if location not in known.locations:
        what = "no such data location of type processing"
        yield Problem(("processing_location",), what, location, tuple(known.locations))
    if isinstance(grouping, str) and grouping not in known.groupings:
        yield Problem(("data_grouping",), "no such data grouping", grouping, tuple(known.groupings))
    if isinstance(grouping, DataGroupingDeclaration):
        module = grouping.instrument_module
        if module is not None and module not in known.modules:
            place = ("data_grouping", "instrument_module")
            yield Problem(place, "no such instrument module", module, tuple(known.modules))


def _programs(declaration: PipelineDeclaration, known: Known) -> Iterator[Problem]:
    declared = {program.name: {version.version for version in program.versions} for program in declaration.software}
    for index, step in enumerate(declaration.steps):
        if step.software not in declared and step.software not in known.software:
            choices = tuple(sorted({*declared, *known.software}))
            yield Problem(("steps", index, "software"), "no such software", step.software, choices)
            continue
        versions = {*declared.get(step.software, ()), *known.versions_of(step.software)}
        if step.version not in versions:
            what = f"no such version of {step.software}"
            yield Problem(("steps", index, "version"), what, step.version, tuple(sorted(versions, key=version_rank)))
