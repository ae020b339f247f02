from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccat_models.pipeline.graph import find_cycle, topological_order

NAMES = "abcdef"
GRAPHS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4), max_size=6)


@given(GRAPHS)
def test_an_order_has_everything_after_its_upstreams_or_a_cycle_is_named(graph: dict[str, list[str]]) -> None:
    inside = {name: [upstream for upstream in upstreams if upstream in graph] for name, upstreams in graph.items()}
    cycle = find_cycle(inside)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(upstream in inside[name] for name, upstream in pairwise(cycle))
        assert len(set(cycle[1:])) == len(cycle) - 1
        with pytest.raises(ValueError, match=f"^cycle: {' → '.join(cycle)}$"):
            topological_order(inside)
    else:
        order = topological_order(inside)
        assert sorted(order) == sorted(graph)
        assert all(order.index(upstream) < order.index(name) for name in graph for upstream in inside[name])


def test_the_given_order_decides_where_the_graph_does_not() -> None:
    assert topological_order({"d": [], "b": ["a"], "c": [], "a": []}) == ["d", "c", "a", "b"]
    assert topological_order({"a": ["outside"]}) == ["a"]
    assert find_cycle({"a": ["outside"]}) == []
