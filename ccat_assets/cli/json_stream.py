"""JSON of any length: long parts are written while they are read."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ccat_assets.cli.output import plain


@dataclass(frozen=True)
class Entries:
    """The pairs of a JSON object that is too long to be held in memory."""

    pairs: Iterable[tuple[Any, Any]]


def print_members(members: Iterable[tuple[str, Any]]) -> None:
    """Print a JSON object: iterators as arrays and `Entries` as objects, one line for each item."""
    sys.stdout.writelines(_object(members, " "))
    sys.stdout.write("\n")


def _object(members: Iterable[tuple[Any, Any]], indent: str) -> Iterator[str]:
    opening = "{"
    for name, item in members:
        yield f"{opening}\n{indent}{_text(str(plain(name)))}: "
        yield from _value(item, indent)
        opening = ","
    yield "{}" if opening == "{" else f"\n{indent[1:]}}}"


def _value(item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, Entries):
        yield from _object(item.pairs, f"{indent} ")
    elif isinstance(item, Iterator):
        opening = "["
        for one in item:
            yield f"{opening}\n{indent} {_text(one)}"
            opening = ","
        yield "[]" if opening == "[" else f"\n{indent}]"
    else:
        yield _text(item)


def _text(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
