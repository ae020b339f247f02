import hashlib
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from ccat_models.errors import InvalidDeclaration

# A key is `all`, or for each dimension `name=value`, joined by `+`. In a value every character but A-Z a-z 0-9 . _ - is
# percent-encoded (UTF-8, upper-case hex). A dot after a dot is encoded too: Dagster refuses `...` in a partition key.
# A dimension without value (NULL) is written as its name alone. A longer key than 200 bytes is cut: its beginning, ~,
# and the first 16 digits of the sha256 of the whole key.
ALL = "all"
MAX_BYTES = 200
_HASH_DIGITS = 16
_CUT = re.compile(rf".*~[0-9a-f]{{{_HASH_DIGITS}}}")
_NAME = re.compile(r"[A-Za-z]\w*(\.\w+)?", re.ASCII)
_SECOND_DOT = re.compile(r"(?<=\.)\.")
_OPEN_ESCAPE = re.compile(r"%.?\Z")


def make_key(dimensions: Sequence[str], values: Sequence[str | None]) -> str:
    """Return the key of the sub-group with these values, at most 200 bytes; `values` are in the order of `dimensions`.

    Raises InvalidDeclaration for a dimension's name that cannot be part of a key.
    """
    for name in dimensions:
        if not _NAME.fullmatch(name) or name == ALL:
            raise InvalidDeclaration(f"no key can hold a dimension named {name!r}")
    key = "+".join(_part(*pair) for pair in zip(dimensions, values, strict=True)) if dimensions else ALL
    if len(key) <= MAX_BYTES:
        return key
    kept = _OPEN_ESCAPE.sub("", key[: MAX_BYTES - _HASH_DIGITS - 1])
    return f"{kept}~{hashlib.sha256(key.encode()).hexdigest()[:_HASH_DIGITS]}"


def parse_key(key: str) -> dict[str, str | None]:
    """Return dimension → value, in the key's order; the value is None for a dimension without value.

    Raises InvalidDeclaration for a cut key, whose values only ops-db has, and for a text that is no key.
    """
    if _CUT.fullmatch(key):
        raise InvalidDeclaration(f"the key {key!r} is cut and ends in a hash: look its sub-group up for the values")
    values: dict[str, str | None] = {}
    for part in () if key == ALL else key.split("+"):
        name, equals, value = part.partition("=")
        values[name] = unquote(value, errors="replace") if equals else None
    try:
        same = make_key(list(values), list(values.values())) == key
    except InvalidDeclaration:
        same = False
    if not same:
        raise InvalidDeclaration(f"{key!r} is no sub-group key; write e.g. source=NGC253+line=CO43, or {ALL}")
    return values


def _part(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={_encoded(value)}"


def _encoded(value: str) -> str:
    return _SECOND_DOT.sub("%2E", quote(value, safe="").replace("~", "%7E"))
