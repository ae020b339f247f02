import pytest

from ccat_models.errors import InvalidDeclaration, NotFound
from ccat_models.grouping.presets import PRESETS, fill
from ccat_models.grouping.rules import validate_rules


def test_a_filled_preset_is_a_list_of_rules() -> None:
    assert fill("chai_line_map", {"source": "NGC253", "line": "CO43"}) == [
        {"table": "Instrument", "column": "name", "operator": "eq", "value": "CHAI"},
        {"table": "Source", "column": "name", "operator": "eq", "value": "NGC253"},
        {"table": "ObsUnit", "column": "line_id", "operator": "eq", "value": "CO43"},
        {"table": "RawDataPackage", "column": "state", "operator": "eq", "value": "archived"},
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_valid_rules(name: str) -> None:
    values = dict.fromkeys(PRESETS[name].placeholders, "2026-03-01T00:00:00Z")
    assert len(validate_rules(fill(name, values))) == len(PRESETS[name].rules)


def test_what_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(InvalidDeclaration) as missing:
        fill("chai_line_map", {"source": "NGC253"})
    assert str(missing.value) == "preset chai_line_map: no value for line; it needs: source, line"
    with pytest.raises(InvalidDeclaration) as unknown:
        fill("chai_line_map", {"source": "NGC253", "lien": "CO43"})
    assert str(unknown.value) == "preset chai_line_map: no placeholder 'lien'; choose from: source, line"
    with pytest.raises(NotFound) as preset:
        fill("chai", {})
    assert str(preset.value) == f"no preset 'chai'; known: {', '.join(PRESETS)}"
