import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from ccat_models.pipeline.schema import main, render_schema
from tests.support.worlds.pipeline import document, step, version

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(ROOT.glob("examples/*/pipeline.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(render_schema())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_published_schema_is_current(tmp_path: Path) -> None:
    main([str(tmp_path / "pipeline.json")])
    published = ROOT / "docs" / "schemas" / "pipeline.json"
    assert (tmp_path / "pipeline.json").read_text("utf-8") == published.read_text("utf-8")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_schema_accepts_the_examples(example: Path, validator: Draft202012Validator) -> None:
    validator.validate(YAML(typ="safe", pure=True).load(example))


def test_the_schema_accepts_a_grouping_by_name(validator: Draft202012Validator) -> None:
    assert validator.is_valid(document(data_grouping="chai-all"))


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"name": "CHAI"},
        {"mode": "once"},
        {"priority": "10"},
        {"trigger": {"type": "cron"}},
        {"steps": []},
        {"steps": [step(cooldown_seconds=-1)]},
        {"steps": [step(settle_seconds=-1)]},
        {"steps": [step(max_in_flight=0)]},
        {"max_in_flight": 0},
        {"partition_horizon_days": 0},
        {"steps": [step(retries={"boredom": 1})]},
        {"steps": [step(resources={"memory_gb": 0})]},
        {"data_grouping": 7},
        {"software": [{"name": "a", "versions": [version(sha256="x")]}]},
        {"owners": ["ada"]},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_malformed(changes: dict[str, Any], validator: Draft202012Validator) -> None:
    assert validator.is_valid(document())
    assert not validator.is_valid(document(**changes))
