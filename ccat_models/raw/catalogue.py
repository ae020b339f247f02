"""catalogue.json: the observations and raw data packages of one delivery; entries refer to each other by name."""

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ccat_models.errors import InvalidDeclaration
from ccat_models.tables.raw_data import PackageState


def _directory(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError("must be a relative directory without '..'")
    return path


def _storable(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not hold the character NUL")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not hold NaN or Infinity")
    for inner in (
        (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _storable(inner)
    return value


# Limited to what both databases store: PostgreSQL refuses NUL, and neither reads JSON with NaN back.
Text = Annotated[str, AfterValidator(_storable)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Directory = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_directory)]


class Entry(BaseModel):
    """A frozen part of a catalogue that takes no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ObservatoryEntry(Entry):
    """The observatory."""

    name: Name


class TelescopeEntry(Entry):
    """The telescope; altitude in metres, position in degrees."""

    name: Name
    altitude_m: float | None = None
    latitude_deg: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Field(ge=-180, le=360)] | None = None


class ModuleEntry(Entry):
    """A module of an instrument."""

    name: Name
    description: Text = ""


class InstrumentEntry(Entry):
    """An instrument with its modules."""

    name: Name
    description: Text = ""
    modules: tuple[ModuleEntry, ...] = ()


class ProgramEntry(Entry):
    """An observing programme."""

    short_name: Annotated[Name, Field(max_length=100)]
    name: Text = ""


class SubProgramEntry(ProgramEntry):
    """A part of an observing programme."""

    observing_program: Name


class FixedSourceEntry(Entry):
    """A source at ICRS coordinates, degrees."""

    kind: Literal["fixed_source"]
    name: Name
    ra_deg: Annotated[float, Field(ge=0, lt=360)]
    dec_deg: Annotated[float, Field(ge=-90, le=90)]


class SolarSystemEntry(Entry):
    """A body of the solar system by its NAIF identifier."""

    kind: Literal["solar_system_object"]
    name: Name
    naif_id: Annotated[int, Field(ge=-(2**31), lt=2**31)]


class ConstantElevationEntry(Entry):
    """A scan at constant elevation between two azimuths, degrees."""

    kind: Literal["constant_elevation_source"]
    name: Name
    elevation_deg: Annotated[float, Field(ge=0, le=90)]
    azimuth_min_deg: float
    azimuth_max_deg: float


SourceEntry = Annotated[FixedSourceEntry | SolarSystemEntry | ConstantElevationEntry, Field(discriminator="kind")]


class LineEntry(Entry):
    """A spectral line; rest frequency in GHz."""

    id: Annotated[Name, Field(max_length=50)]
    name: Name
    rest_frequency_ghz: Annotated[float, Field(gt=0)]


class ObsModeEntry(Entry):
    """An observing mode."""

    name: Annotated[Name, Field(max_length=100)]


class ObsUnitEntry(Entry):
    """A planned unit of observation."""

    name: Name
    source: Name
    line: Name | None = None
    obs_mode: Name
    observing_program: Name
    sub_observing_program: Name | None = None


class ExecutedObsUnitEntry(Entry):
    """One execution of an observation unit."""

    name: Name
    obs_unit: Name
    start_time: AwareDatetime
    end_time: AwareDatetime


class PackageEntry(Entry):
    """A raw data package; `path` is the directory of its files, relative to the catalogue."""

    name: Name
    executed_obs_unit: Name
    instrument_module: Name
    path: Directory
    state: PackageState = PackageState.ARCHIVED
    created_at: AwareDatetime
    metadata: Metadata = Field(default_factory=dict)


class Catalogue(Entry):
    """The contents of one catalogue.json."""

    schema_version: Literal[1]
    observatory: ObservatoryEntry
    telescope: TelescopeEntry
    instruments: tuple[InstrumentEntry, ...]
    observing_programs: tuple[ProgramEntry, ...] = ()
    sub_observing_programs: tuple[SubProgramEntry, ...] = ()
    sources: tuple[SourceEntry, ...] = ()
    lines: tuple[LineEntry, ...] = ()
    obs_modes: tuple[ObsModeEntry, ...] = ()
    obs_units: tuple[ObsUnitEntry, ...] = ()
    executed_obs_units: tuple[ExecutedObsUnitEntry, ...] = ()
    packages: tuple[PackageEntry, ...] = ()


def parse_catalogue(text: str, *, file: str) -> Catalogue:
    """Return the catalogue that a JSON text describes.

    References must name entries of the same catalogue. Raises InvalidDeclaration with one line for each problem, each
    beginning with `file`.
    """
    try:
        catalogue = Catalogue.model_validate_json(text)
    except ValidationError as error:
        raise InvalidDeclaration("\n".join(f"{file}: {_message(problem)}" for problem in error.errors())) from error
    problems = [
        f"{file}: {problem}" for problem in (*_duplicates(catalogue), *_dangling(catalogue), *_times(catalogue))
    ]
    if problems:
        raise InvalidDeclaration("\n".join(problems))
    return catalogue


def _message(problem: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).removeprefix(".")
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; choose from: {', '.join(_keys(problem['loc'][:-1]))}"
    shown = repr(problem["input"])
    return f"{place or 'text'}: {problem['msg']}, got {shown[:80]}"


def _keys(location: Sequence[str | int]) -> Iterable[str]:
    models: list[type[BaseModel]] = [Catalogue]
    for part in location:
        of_kind = [model for model in models if part in get_args(_annotation(model, "kind"))]
        fields = [_annotation(model, part) for model in models if part in model.model_fields]
        models = of_kind or [inner for field in fields for inner in _models_in(field)] or models
    return dict.fromkeys(key for model in models for key in model.model_fields)


def _annotation(model: type[BaseModel], field: str | int) -> Any:
    return model.model_fields[str(field)].annotation if str(field) in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _duplicates(catalogue: Catalogue) -> Iterable[str]:
    modules = [module for instrument in catalogue.instruments for module in instrument.modules]
    names_by_kind: dict[str, Sequence[str]] = {
        "instruments": [entry.name for entry in catalogue.instruments],
        "modules": [entry.name for entry in modules],
        "observing_programs": [entry.short_name for entry in catalogue.observing_programs],
        "sub_observing_programs": [entry.short_name for entry in catalogue.sub_observing_programs],
        "sources": [entry.name for entry in catalogue.sources],
        "lines": [entry.id for entry in catalogue.lines],
        "obs_modes": [entry.name for entry in catalogue.obs_modes],
        "obs_units": [entry.name for entry in catalogue.obs_units],
        "executed_obs_units": [entry.name for entry in catalogue.executed_obs_units],
        "packages": [entry.name for entry in catalogue.packages],
    }
    for kind, names in names_by_kind.items():
        seen: set[str] = set()
        for i, name in enumerate(names):
            if name in seen:
                yield f"{kind}[{i}]: {name!r} occurs twice"
            seen.add(name)


def _dangling(catalogue: Catalogue) -> Iterable[str]:
    programs = [entry.short_name for entry in catalogue.observing_programs]
    units = catalogue.obs_units
    checks: tuple[tuple[str, Sequence[Any], str, list[str]], ...] = (
        ("sub_observing_programs", catalogue.sub_observing_programs, "observing_program", programs),
        ("obs_units", units, "source", [entry.name for entry in catalogue.sources]),
        ("obs_units", units, "line", [entry.id for entry in catalogue.lines]),
        ("obs_units", units, "obs_mode", [entry.name for entry in catalogue.obs_modes]),
        ("obs_units", units, "observing_program", programs),
        (
            "obs_units",
            units,
            "sub_observing_program",
            [entry.short_name for entry in catalogue.sub_observing_programs],
        ),
        ("executed_obs_units", catalogue.executed_obs_units, "obs_unit", [entry.name for entry in units]),
        (
            "packages",
            catalogue.packages,
            "executed_obs_unit",
            [entry.name for entry in catalogue.executed_obs_units],
        ),
        (
            "packages",
            catalogue.packages,
            "instrument_module",
            [module.name for instrument in catalogue.instruments for module in instrument.modules],
        ),
    )
    for kind, entries, field, known in checks:
        yield from _unknown(kind, entries, field, known)


def _unknown(kind: str, entries: Sequence[Any], field: str, known: list[str]) -> Iterable[str]:
    choices = set(known)
    for i, entry in enumerate(entries):
        value: str | None = getattr(entry, field)
        if value is not None and value not in choices:
            shown = ", ".join(known[:10]) + (f", … ({len(known)} in all)" if len(known) > 10 else "")
            yield f"{kind}[{i}].{field}: no {value!r} in this catalogue; choose from: {shown or 'none'}"


def _times(catalogue: Catalogue) -> Iterable[str]:
    for i, entry in enumerate(catalogue.executed_obs_units):
        if entry.end_time < entry.start_time:
            yield f"executed_obs_units[{i}].end_time: {entry.end_time.isoformat()} is before start_time"
