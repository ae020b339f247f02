"""The published JSON schemas; `python -m ccat_models.contract.schemas DIR` writes them."""

import json
import sys
from pathlib import Path
from typing import Any

from ccat_models.contract.manifest import Manifest
from ccat_models.contract.result import Result
from ccat_models.contract.values import ContractModel

SCHEMA_VERSION = 1

PUBLISHED: dict[str, type[ContractModel]] = {"manifest.json": Manifest, "result.json": Result}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of one published file, with its $id and version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ccat-asset-orchestrator:{name.removesuffix('.json')}:{SCHEMA_VERSION}",
        "version": SCHEMA_VERSION,
        **PUBLISHED[name].model_json_schema(mode="serialization"),
    }


def render_schemas() -> dict[str, str]:
    """Return file name → text of every published schema."""
    return {name: json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n" for name in PUBLISHED}


def main(arguments: list[str]) -> None:
    """Write every published schema into the directory that the one argument names."""
    (directory,) = arguments
    for name, text in render_schemas().items():
        (Path(directory) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
