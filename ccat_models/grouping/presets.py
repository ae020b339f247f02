from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ccat_models.errors import InvalidDeclaration, NotFound


@dataclass(frozen=True)
class Placeholder:
    """A value of a preset's rule that the caller has to give, by this name."""

    name: str


@dataclass(frozen=True)
class PresetRule:
    """A filter rule of a preset; its value may be a placeholder."""

    table: str
    column: str
    operator: str
    value: str | Placeholder


@dataclass(frozen=True)
class Preset:
    """Filter rules that are often needed, complete except for their placeholders."""

    name: str
    description: str
    rules: tuple[PresetRule, ...]

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Return the names of the values that have to be given."""
        return tuple(rule.value.name for rule in self.rules if isinstance(rule.value, Placeholder))

    def filled(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rules with the values (placeholder → value) filled in.

        Raises InvalidDeclaration for a missing or an unknown placeholder.
        """
        needed = ", ".join(self.placeholders)
        for name in values:
            if name not in self.placeholders:
                raise InvalidDeclaration(f"preset {self.name}: no placeholder {name!r}; choose from: {needed}")
        missing = [name for name in self.placeholders if name not in values]
        if missing:
            raise InvalidDeclaration(f"preset {self.name}: no value for {', '.join(missing)}; it needs: {needed}")
        return [
            {
                "table": rule.table,
                "column": rule.column,
                "operator": rule.operator,
                "value": values[rule.value.name] if isinstance(rule.value, Placeholder) else rule.value,
            }
            for rule in self.rules
        ]


_ARCHIVED = PresetRule("RawDataPackage", "state", "eq", "archived")


def _equal(table: str, column: str, placeholder: str) -> PresetRule:
    return PresetRule(table, column, "eq", Placeholder(placeholder))


_ALL = (
    Preset(
        "chai_line_map",
        "Every archived CHAI package of one source in one spectral line.",
        (
            PresetRule("Instrument", "name", "eq", "CHAI"),
            _equal("Source", "name", "source"),
            _equal("ObsUnit", "line_id", "line"),
            _ARCHIVED,
        ),
    ),
    Preset(
        "archived_of_instrument",
        "Every archived package of one instrument.",
        (_equal("Instrument", "name", "instrument"), _ARCHIVED),
    ),
    Preset(
        "archived_of_instrument_module",
        "Every archived package of one instrument module.",
        (_equal("InstrumentModule", "name", "instrument_module"), _ARCHIVED),
    ),
    Preset(
        "archived_of_observing_program",
        "Every archived package of one observing programme.",
        (_equal("ObservingProgram", "short_name", "observing_program"), _ARCHIVED),
    ),
    Preset(
        "archived_of_source",
        "Every archived package of one source, whatever the instrument.",
        (_equal("Source", "name", "source"), _ARCHIVED),
    ),
    Preset(
        "archived_at_observatory",
        "Every archived package of one observatory's telescopes.",
        (_equal("Observatory", "name", "observatory"), _ARCHIVED),
    ),
    Preset(
        "observed_between",
        "Every archived package whose observation began in a span of time, its end not included.",
        (
            PresetRule("ExecutedObsUnit", "start_time", "gte", Placeholder("begin")),
            PresetRule("ExecutedObsUnit", "start_time", "lt", Placeholder("end")),
            _ARCHIVED,
        ),
    ),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}


def fill(name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rules of a preset with the values (placeholder → value) filled in.

    Raises NotFound for an unknown preset, InvalidDeclaration for a missing or an unknown placeholder.
    """
    if name not in PRESETS:
        raise NotFound("preset", name, list(PRESETS))
    return PRESETS[name].filled(values)
