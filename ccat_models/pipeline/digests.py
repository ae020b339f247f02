"""What a configuration and a program's code are, as one number each."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CodeDigest:
    """Where a version's code lies, an absolute directory, and the digest of its files."""

    directory: str
    sha256: str


CodeDigests = Mapping[tuple[str, str], CodeDigest]
"""(software, version) → the digest of the code that its declaration lists."""


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value; raise ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def config_hash(parameters: Mapping[str, Any]) -> str:
    """Return the sha256 of the parameters' canonical JSON."""
    return hashlib.sha256(canonical_json(parameters).encode()).hexdigest()
