import re
from pathlib import PurePosixPath

import pytest
from dagster import DynamicPartitionsDefinition
from hypothesis import given
from hypothesis import strategies as st

from ccat_models.errors import InvalidDeclaration
from ccat_models.sub_group.dimensions import REGISTERED
from ccat_models.sub_group.keys import make_key, parse_key

NAMES = st.lists(st.sampled_from([*REGISTERED, "Telescope.name", "ObsUnit.id"]), unique=True, max_size=4)
AWKWARD = st.sampled_from(
    ["", ".", "..", "...", "a..b", "all", "~", "+", "=", "a=b+c", "%2E", "%", "\n", "é", "𝄞", "/"]
)
VALUES = st.none() | AWKWARD | st.text(max_size=30) | st.text(max_size=300)
CELLS = NAMES.flatmap(lambda names: st.tuples(st.just(names), st.tuples(*(VALUES for _ in names))))


@pytest.mark.parametrize(
    ("dimensions", "values", "key"),
    [
        ([], [], "all"),
        (["source", "line"], ["NGC253", "CO43"], "source=NGC253+line=CO43"),
        (["line", "source"], ["CO43", "NGC253"], "line=CO43+source=NGC253"),
        (["source"], ["CO 4-3/é~%"], "source=CO%204-3%2F%C3%A9~%".replace("~%", "%7E%25")),
        (["source"], ["...."], "source=.%2E%2E%2E"),
        (["source"], ["a.b_c-D"], "source=a.b_c-D"),
        (["source", "line"], ["", None], "source=+line"),
        (["source"], ["all"], "source=all"),
        (["Telescope.name"], ["FYST"], "Telescope.name=FYST"),
        (["source"], ["x" * 193], f"source={'x' * 193}"),
        (["source"], ["x" * 194], f"source={'x' * 176}~10d57ba4bdbe1a37"),
        (["source"], ["x" * 175 + "é" * 20], f"source={'x' * 175}~509213c65adeda1e"),  # no half of an escape
    ],
)
def test_a_key_is_written_in_one_way(dimensions: list[str], values: list[str | None], key: str) -> None:
    assert make_key(dimensions, values) == key


@pytest.mark.parametrize("name", ["all", "", "a=b", "a+b", "a b", ".a", "a.b.c", "é", "a\n"])
def test_a_name_that_no_key_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        make_key([name], ["x"])
    assert str(refused.value) == f"no key can hold a dimension named {name!r}"


def test_one_value_for_each_dimension() -> None:
    with pytest.raises(ValueError, match="shorter"):
        make_key(["source", "line"], ["NGC253"])


@given(CELLS)
def test_a_key_contains_its_values_unless_it_is_cut(cell: tuple[list[str], tuple[str | None, ...]]) -> None:
    names, values = cell
    key = make_key(names, values)
    if "~" in key:
        with pytest.raises(InvalidDeclaration) as cut:
            parse_key(key)
        assert str(cut.value) == f"the key {key!r} is cut and ends in a hash: look its sub-group up for the values"
    else:
        assert list(parse_key(key).items()) == list(zip(names, values, strict=True))


@given(CELLS, CELLS)
def test_no_two_cells_share_a_key(
    one: tuple[list[str], tuple[str | None, ...]], other: tuple[list[str], tuple[str | None, ...]]
) -> None:
    assert (make_key(*one) == make_key(*other)) == (one == other)


@given(CELLS)
def test_a_key_is_one_harmless_path_component_and_a_partition_key(
    cell: tuple[list[str], tuple[str | None, ...]],
) -> None:
    key = make_key(*cell)
    assert re.fullmatch(r"[A-Za-z0-9._=+%~-]{1,200}", key)
    assert PurePosixPath("/base", key, "step").parts == ("/", "base", key, "step")
    assert key not in (".", "..")
    assert "..." not in key  # Dagster's range of partition keys


@pytest.mark.parametrize(
    "text",
    ["", "source=a b", "source=%41", "source=%c3%a9", "source=%C3", "source=a+", "=a", "source=a=b", "source=..", "a~b"]
    + ["source=a+source=b", "all=x", "../x", "source=x\n"],
)
def test_what_no_sub_group_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        parse_key(text)
    message = f"{text!r} is no sub-group key; write e.g. source=NGC253+line=CO43, or all"
    assert str(refused.value) == message


def test_dagster_takes_such_keys() -> None:
    key = make_key(["source", "line", "obs_mode"], ["a...\n|,[]", None, ""])
    request = DynamicPartitionsDefinition(name="sub_groups").build_add_request([key])
    assert request.partition_keys == ["source=a.%2E%2E%0A%7C%2C%5B%5D+line+obs_mode="]
