import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

LANES = 3
LANE_BITS = 40  # sums of 2**23 items stay within a signed 64-bit integer, so plain SQL can add them up


@dataclass(frozen=True)
class Lanes:
    """The contribution of one item to an input set's fingerprint: three numbers of 40 bits, which are added up.

    Adding makes the fingerprint independent of the items' order. SQL's `sum` can compute it, and single items can be
    added and subtracted (an additive multiset hash: Bellare & Micciancio 1997, AdHash). With 120 bits, a chance
    collision among 10^7 input sets has a probability below 10^-21; it is no protection against constructed collisions.
    """

    values: tuple[int, int, int]

    @staticmethod
    def of(kind: str, identity: str | int, checksum: str) -> "Lanes":
        """Return the lanes of one item; `kind` is "package" or "product", `checksum` a sha256."""
        digest = hashlib.sha256(f"{kind}\0{identity}\0{checksum}".encode()).digest()
        width = LANE_BITS // 8
        first, second, third = (int.from_bytes(digest[i * width : (i + 1) * width], "big") for i in range(LANES))
        return Lanes((first, second, third))

    @staticmethod
    def none() -> "Lanes":
        """Return the lanes of an empty set."""
        return Lanes((0, 0, 0))

    def __add__(self, other: "Lanes") -> "Lanes":
        first, second, third = (mine + its for mine, its in zip(self.values, other.values, strict=True))
        return Lanes((first, second, third))


@dataclass(frozen=True)
class Fingerprint:
    """The identity of an input set: the number of its items and the sum of their lanes."""

    count: int
    lanes: Lanes

    def __str__(self) -> str:
        return f"{self.count}-" + "-".join(f"{lane:x}" for lane in self.lanes.values)


def files_checksum(files: Mapping[str, str]) -> str:
    """Return the checksum of a set of files (path → sha256): the sha256 of the lines "sha256  path", sorted by path."""
    lines = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
