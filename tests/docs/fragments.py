"""Parts of documents that pages show, put into a whole one and read as such."""

import json
import re
from typing import Any

from ruamel.yaml import YAML

from ccat_assets.operate.declare import OPTION_CHECKS
from ccat_models.contract.manifest import Manifest
from ccat_models.grouping.rules import validate_rules
from ccat_models.pipeline.declaration import PipelineDeclaration
from ccat_models.pipeline.parts import StepDeclaration
from ccat_models.pipeline.yaml_source import parse
from ccat_models.raw.catalogue import parse_catalogue

_STEP: dict[str, Any] = {"name": "step", "group_by": [], "software": "program", "version": "1.0.0"}
_PIPELINE: dict[str, Any] = {
    "schema_version": 1,
    "name": "page",
    "mode": "ad_hoc",
    "processing_location": "local",
    "data_grouping": "any",
}


def check_yaml(text: str, place: str) -> None:
    """Read a list of filter rules, a whole pipeline, or some of a pipeline's or a step's fields."""
    shown = YAML(typ="safe").load(_whole(text))
    if isinstance(shown, list):
        validate_rules(shown)
        return
    if not shown.keys() <= PipelineDeclaration.model_fields.keys():
        shown = {"steps": [shown]}
    steps = [_STEP | step for step in shown.get("steps", [{}])]
    unknown = {field for step in steps for field in step} - StepDeclaration.model_fields.keys()
    assert not unknown, f"{place}: neither a pipeline nor a step has {unknown}"
    parse(json.dumps(_PIPELINE | shown | {"steps": steps}), file=place, option_checks=OPTION_CHECKS)


def check_json(text: str, place: str) -> None:
    """Read JSON; a manifest and a catalogue must be whole ones."""
    content = json.loads(text)
    if "submission_key" in content.get("run", {}):
        Manifest.model_validate_json(_whole(text))
    elif "packages" in content:
        parse_catalogue(text, file=place)


def _whole(text: str) -> str:
    """Return a text with shortened checksums made long again."""
    return re.sub(r"\b([0-9a-f]{2,8})…", lambda found: found[1].ljust(64, "0"), text)
