"""The entries of a catalogue that packages refer to (instruments, sources, executions, …), registered by name."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ccat_models.chunks import chunks
from ccat_models.errors import InvalidDeclaration
from ccat_models.raw.catalogue import Catalogue
from ccat_models.tables.base import Base
from ccat_models.tables.observation import (
    ConstantElevationSource,
    ExecutedObsUnit,
    FixedSource,
    Line,
    ObservingProgram,
    ObsMode,
    ObsUnit,
    SolarSystemObject,
    Source,
    SubObservingProgram,
)
from ccat_models.tables.observatory import Instrument, InstrumentModule, Observatory, Telescope

_SOURCES: dict[str, type[Source]] = {
    "fixed_source": FixedSource,
    "solar_system_object": SolarSystemObject,
    "constant_elevation_source": ConstantElevationSource,
}
_ROWS = 5_000  # in one statement
Ids = dict[Any, Any]  # name → identifier


def register_observations(session: Session, catalogue: Catalogue) -> Mapping[str, Ids]:
    """Insert the new entries of a catalogue, packages excepted; return table → name → identifier.

    Raises InvalidDeclaration for an entry that ops-db has with other values; the message gives both.
    """
    observatory = _named(session, Observatory, "observatory", [{"name": catalogue.observatory.name}])
    telescope = _named(session, Telescope, "telescope", [_telescope(catalogue, observatory)])
    telescope_id = telescope[catalogue.telescope.name]
    instruments = _named(session, Instrument, "instruments", _instruments(catalogue, telescope_id))
    modules = _named(session, InstrumentModule, "modules", _modules(catalogue, instruments))
    programs = _named(
        session,
        ObservingProgram,
        "observing_programs",
        [entry.model_dump() for entry in catalogue.observing_programs],
        key="short_name",
    )
    parts = _named(
        session, SubObservingProgram, "sub_observing_programs", _parts(catalogue, programs), key="short_name"
    )
    sources = _sources(session, catalogue)
    lines = _named(session, Line, "lines", [entry.model_dump() for entry in catalogue.lines], key="id")
    modes = _named(session, ObsMode, "obs_modes", [entry.model_dump() for entry in catalogue.obs_modes])
    known = {"source": sources, "line": lines, "obs_mode": modes, "program": programs, "part": parts}
    units = _named(session, ObsUnit, "obs_units", _units(catalogue, known))
    executed = _named(session, ExecutedObsUnit, "executed_obs_units", _executed(catalogue, units))
    return {"instrument_module": modules, "executed_obs_unit": executed}


def _telescope(catalogue: Catalogue, observatory: Ids) -> dict[str, Any]:
    return {**catalogue.telescope.model_dump(), "observatory_id": observatory[catalogue.observatory.name]}


def _instruments(catalogue: Catalogue, telescope_id: int) -> list[dict[str, Any]]:
    return [
        {"name": entry.name, "description": entry.description, "telescope_id": telescope_id}
        for entry in catalogue.instruments
    ]


def _modules(catalogue: Catalogue, instruments: Ids) -> list[dict[str, Any]]:
    return [
        {"name": module.name, "description": module.description, "instrument_id": instruments[entry.name]}
        for entry in catalogue.instruments
        for module in entry.modules
    ]


def _parts(catalogue: Catalogue, programs: Ids) -> list[dict[str, Any]]:
    return [
        {
            "short_name": entry.short_name,
            "name": entry.name,
            "observing_program_id": programs[entry.observing_program],
        }
        for entry in catalogue.sub_observing_programs
    ]


def _units(catalogue: Catalogue, known: Mapping[str, Ids]) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "source_id": known["source"][entry.source],
            "line_id": None if entry.line is None else known["line"][entry.line],
            "obs_mode_id": known["obs_mode"][entry.obs_mode],
            "observing_program_id": known["program"][entry.observing_program],
            "sub_observing_program_id": known["part"].get(entry.sub_observing_program),
        }
        for entry in catalogue.obs_units
    ]


def _executed(catalogue: Catalogue, units: Ids) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "obs_unit_id": units[entry.obs_unit],
            "start_time": entry.start_time,
            "end_time": entry.end_time,
        }
        for entry in catalogue.executed_obs_units
    ]


def _sources(session: Session, catalogue: Catalogue) -> Ids:
    names = [entry.name for entry in catalogue.sources]
    known = {source.name: source for source in session.scalars(sa.select(Source).where(Source.name.in_(names)))}
    for i, entry in enumerate(catalogue.sources):
        values = entry.model_dump()
        source = known.get(entry.name)
        if source is None:
            kind = values.pop("kind")
            known[entry.name] = source = _SOURCES[kind](**values)
            session.add(source)
        # another kind of source has other columns; `kind` is compared first, so the message names it
        _agree(f"sources[{i}]", {name: getattr(source, name, None) for name in entry.model_dump()}, entry.model_dump())
    session.flush()
    return {name: source.id for name, source in known.items()}


def _named(
    session: Session, table: type[Base], place: str, rows: Sequence[Mapping[str, Any]], *, key: str = "name"
) -> Ids:
    """Insert the rows whose key is new, compare the others, and return key → identifier."""
    columns = table.__table__.c
    wanted = {row[key]: row for row in rows}
    found = _found(session, table, key, list(wanted))
    for i, (name, row) in enumerate(wanted.items()):
        if name in found:
            where = place if place in {"observatory", "telescope"} else f"{place}[{i}]"
            shown = partial(_shown, session, table)
            _agree(where, {column: found[name][column] for column in row}, row, shown)
    new = [dict(row) for name, row in wanted.items() if name not in found]
    for chunk in chunks(new, _ROWS):
        session.execute(sa.insert(table), chunk)
    if new:
        found = _found(session, table, key, list(wanted))
    return {name: row[columns.id.name] for name, row in found.items()}


def _found(session: Session, table: type[Base], key: str, names: Sequence[str]) -> dict[str, sa.RowMapping]:
    found = {}
    for chunk in chunks(names, _ROWS):
        query = sa.select(table.__table__).where(table.__table__.c[key].in_(chunk))
        found.update({row[key]: row for row in session.execute(query).mappings()})
    return found


def _shown(session: Session, table: type[Base], column: str, value: Any) -> str:
    """Return a value as the catalogue writes it: a foreign key as the name of the row that it refers to."""
    for key in table.__table__.c[column].foreign_keys:
        named = key.column.table.c
        name = named["short_name"] if "short_name" in named else named["name"]
        if isinstance(value, int):
            return repr(session.scalar(sa.select(name).where(key.column == value)))
    return repr(value.isoformat() if isinstance(value, datetime) else value)


def _repr(_: str, value: Any) -> str:
    return repr(value)


def _agree(
    place: str, known: Mapping[str, Any], wanted: Mapping[str, Any], shown: Callable[[str, Any], str] = _repr
) -> None:
    for name, value in wanted.items():
        if known[name] != value:
            message = f"ops-db knows {shown(name, known[name])}, the catalogue says {shown(name, value)}"
            raise InvalidDeclaration(f"{place}.{name.removesuffix('_id')}: {message}")
