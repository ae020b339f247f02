import enum
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ccat_models.pipeline.digests import canonical_json

_BARE = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_][A-Za-z0-9_.+@:/-]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_.-]+")


class Absence(enum.Enum):
    """The value of a key that does not exist; it differs from null."""

    ABSENT = "absent"


ABSENT: Literal[Absence.ABSENT] = Absence.ABSENT


@dataclass(frozen=True)
class Difference:
    """A change at one path, e.g. steps.map.parameters.cell_arcsec; ABSENT as `old` means added, as `new` removed."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old is ABSENT:
            return f"+ {self.path}{_leaf(self.new)}"
        if self.new is ABSENT:
            return f"- {self.path}{_leaf(self.old)}"
        return f"{self.path}: {_show(self.old)} → {_show(self.new)}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences of two nested mappings as JSON: 6 differs from 6.0, the order of keys is ignored."""
    return tuple(_differences(old, new, ""))


def render_differences(found: Iterable[Difference]) -> str:
    """Return a line for each difference."""
    return "\n".join(str(difference) for difference in found)


def _differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*new, *sorted(old.keys() - new.keys())):  # PostgreSQL keeps no order of keys
            shown = key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
            inner = f"{path}.{shown}" if path else shown
            yield from _differences(old.get(key, ABSENT), new.get(key, ABSENT), inner)
    elif old is ABSENT or new is ABSENT:
        if old is not new:
            yield Difference(path, old, new)
    elif canonical_json(old) != canonical_json(new):
        yield Difference(path, old, new)


def _leaf(value: Any) -> str:
    return "" if isinstance(value, Mapping) and value else f": {_show(value)}"


def _show(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
