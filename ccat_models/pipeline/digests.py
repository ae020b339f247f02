"""Digests of configurations and of programs' code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CodeDigest:
    """The absolute directory of a version's code, and the digest of its files."""

    directory: str
    sha256: str


CodeDigests = Mapping[tuple[str, str], CodeDigest]
"""(software, version) → the digest of the code that its declaration lists."""


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: sorted keys, no spaces; raise ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def config_hash(parameters: Mapping[str, Any]) -> str:
    """Return the sha256 of the parameters' canonical JSON."""
    return hashlib.sha256(canonical_json(parameters).encode()).hexdigest()
