"""The JSON schema of a pipeline's YAML, for editors; `python -m ccat_models.pipeline.schema FILE` writes it."""

import json
import sys
from pathlib import Path

from ccat_models.pipeline.declaration import PipelineDeclaration

SCHEMA_VERSION = 1


def render_schema() -> str:
    """Return the JSON schema (2020-12) of a pipeline's declaration, as text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ccat-asset-orchestrator:pipeline:{SCHEMA_VERSION}",
        "version": SCHEMA_VERSION,
        **PipelineDeclaration.model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the schema into the file that the one argument names."""
    (file,) = arguments
    Path(file).write_text(render_schema(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
