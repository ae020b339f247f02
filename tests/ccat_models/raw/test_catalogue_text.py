import json
from typing import Any

import pytest

from ccat_models.errors import InvalidDeclaration
from ccat_models.raw.catalogue import parse_catalogue
from tests.support.hands.cli import catalogue

NAN = float("nan")


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("packages", 0, "metadata"), {"a": ["x\0y"]}, "must not hold the character NUL, got {'a': ['x\\x00y']}"),
        (("packages", 0, "metadata"), {"a": {"\0": 1}}, "must not hold the character NUL, got {'a': {'\\x00': 1}}"),
        (("packages", 0, "metadata"), {"a": [{"b": NAN}]}, "must not hold NaN or Infinity, got {'a': [{'b': nan}]}"),
        (("packages", 0, "metadata"), {"a": -NAN}, "must not hold NaN or Infinity, got {'a': nan}"),
        (("packages", 0, "metadata"), {"a": float("inf")}, "must not hold NaN or Infinity, got {'a': inf}"),
        (("instruments", 0, "description"), "a\0b", "must not hold the character NUL, got 'a\\x00b'"),
        (("observing_programs", 0, "name"), "a\0b", "must not hold the character NUL, got 'a\\x00b'"),
    ],
)
def test_what_a_database_would_not_store_is_refused_by_place(place: tuple[Any, ...], value: Any, problem: str) -> None:
    content: Any = catalogue(1)
    *way, last = place
    where = content
    for part in way:
        where = where[part]
    where[last] = value
    with pytest.raises(InvalidDeclaration) as refused:
        parse_catalogue(json.dumps(content), file="catalogue.json")
    assert str(refused.value) == f"catalogue.json: {way[0]}[{way[1]}].{last}: Value error, {problem}"


def test_a_module_is_described_in_storable_text() -> None:
    content: Any = catalogue(1)
    content["instruments"][0]["modules"][0]["description"] = "\0"
    with pytest.raises(InvalidDeclaration) as refused:
        parse_catalogue(json.dumps(content), file="catalogue.json")
    problem = "Value error, must not hold the character NUL, got '\\x00'"
    assert str(refused.value) == f"catalogue.json: instruments[0].modules[0].description: {problem}"


def test_any_other_metadata_is_taken_as_it_is() -> None:
    content: Any = catalogue(1)
    metadata: dict[str, Any] = {"a": [1, 1.5, None, True, "é\n", {"b": []}], "": {}}
    content["packages"][0]["metadata"] = metadata
    assert parse_catalogue(json.dumps(content), file="catalogue.json").packages[0].metadata == metadata
