from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
IDS_IN_A_STATEMENT = 10_000


def chunks(items: Iterable[T], size: int = IDS_IN_A_STATEMENT) -> Iterator[list[T]]:
    """Yield the items in their order, at most `size` at a time."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
