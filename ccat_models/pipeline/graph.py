from collections.abc import Mapping, Sequence

Dependencies = Mapping[str, Sequence[str]]
"""Name → the names it depends on; names that the graph leaves unordered keep the mapping's order."""


def topological_order(dependencies: Dependencies) -> list[str]:
    """Return all names, each after those it depends on, otherwise in the given order; raise ValueError for a cycle."""
    order: list[str] = []
    waiting = {name: set(upstreams) for name, upstreams in dependencies.items()}
    while waiting:
        ready = next((name for name, upstreams in waiting.items() if upstreams.isdisjoint(waiting)), None)
        if ready is None:
            raise ValueError(f"cycle: {' → '.join(find_cycle(dependencies))}")
        order.append(ready)
        del waiting[ready]
    return order


def find_cycle(dependencies: Dependencies) -> list[str]:
    """Return one cycle as a, b, …, a, where each depends on the next; an empty list if there is none."""
    finished: set[str] = set()
    for start in dependencies:
        path = [start]
        while path:
            unfinished = (name for name in dependencies[path[-1]] if name in dependencies and name not in finished)
            upstream = next(unfinished, None)
            if upstream is None:
                finished.add(path.pop())
            elif upstream in path:
                return [*path[path.index(upstream) :], upstream]
            else:
                path.append(upstream)
    return []
