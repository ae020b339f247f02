"""The disk space of a processing location that may be used, as operators configure it."""

import re
from dataclasses import dataclass

from ccat_models.errors import InvalidDeclaration

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}
_MOST_BYTES = 10**18  # so that sums still fit into a database's 64-bit integer
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+|%)\s*")


@dataclass(frozen=True)
class Amount:
    """A number of bytes, or, if `is_part`, a fraction (0 to 1) of a whole."""

    value: float
    is_part: bool = False

    @staticmethod
    def parse(text: str) -> "Amount":
        """Return the amount in a text like "200 MB", "1.5 TiB" or "90 %"; raise InvalidDeclaration for any other."""
        match = _AMOUNT.fullmatch(text)
        if match and match[2] == "%" and float(match[1]) <= 100:
            return Amount(float(match[1]) / 100, is_part=True)
        if match and match[2].upper() in _UNITS:
            size_bytes = float(match[1]) * _UNITS[match[2].upper()]
            if size_bytes > _MOST_BYTES:
                raise InvalidDeclaration(f"{text!r}: is more than any disk holds: at most {_MOST_BYTES // 10**15} PB")
            return Amount(size_bytes)
        raise InvalidDeclaration(f"{text!r}: must be a size like '200 GB' or '1.5 TiB', or a part like '90 %'")

    def of(self, whole_bytes: int) -> int:
        """Return the amount in bytes, where the whole is `whole_bytes`."""
        return int(self.value * whole_bytes) if self.is_part else int(self.value)

    def exceeds(self, other: "Amount", whole_bytes: int | None) -> bool:
        """Say whether this is more than another amount; False if a part and a size cannot be compared (no whole)."""
        if self.is_part == other.is_part:
            return self.value > other.value
        return whole_bytes is not None and self.of(whole_bytes) > other.of(whole_bytes)


@dataclass(frozen=True)
class Watermarks:
    """How much of a location may be used (by default its file system's size), and when to make room.

    If more than `high` is used, products are removed until at most `low` is. Without `high` that never happens.
    """

    limit_bytes: int | None = None
    high: Amount | None = None
    low: Amount | None = None
