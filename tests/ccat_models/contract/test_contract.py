import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from ccat_models.contract import schemas
from ccat_models.contract.exit_codes import ExitMeaning, ExitStatus, exit_status
from ccat_models.contract.manifest import Manifest
from ccat_models.contract.result import Result
from ccat_models.contract.values import DIRECTORY_TYPES, PRODUCT_TYPES

DOCS = Path(__file__).parents[3] / "docs"
CONTRACT = (DOCS / "container-contract.md").read_text(encoding="utf-8")

RESULT: dict[str, Any] = {
    "schema_version": 1,
    "submission_key": "6f0c0de5",
    "run_id": 12,
    "attempt": 1,
    "outcome": "completed",
    "exit_code": 0,
    "signal": None,
    "started_at": "2026-03-07T12:00:00Z",
    "finished_at": "2026-03-07T12:00:01.5Z",
    "wall_seconds": 1.5,
    "cpu_seconds": 1.0,
    "peak_memory_bytes": 1000,
    "host": "node1",
    "job_id": None,
    "image_sha256": None,
    "runtime": "process",
    "command": ["python3", "x.py"],
    "outputs": [{"path": "output/science/x.fits", "type": "science", "size_bytes": 1, "sha256": "a" * 64}],
    "warnings": [],
    "message": "",
}


def published_manifest() -> dict[str, Any]:
    """Return the document's example, its shortened digests filled up."""
    (block,) = re.findall(r"```json\n(.*?)```", CONTRACT, re.DOTALL)
    text = re.sub(r'"(checksum|\w*sha256)": "(\w\w)\w*…"', lambda m: f'"{m[1]}": "{m[2] * 32}"', block)
    example: dict[str, Any] = json.loads(text.replace("6f0c…", "6f0c"))
    return example


def table(heading: str) -> list[list[str]]:
    """Return the rows of the document's first table below a heading."""
    lines = CONTRACT.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_published_schemas_are_current(name: str) -> None:
    published = (DOCS / "schemas" / name).read_text(encoding="utf-8")
    assert published == schemas.render_schemas()[name], "run: python -m ccat_models.contract.schemas docs/schemas"


def test_writer_writes_what_is_rendered(tmp_path: Path) -> None:
    schemas.main([str(tmp_path)])
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == schemas.render_schemas()


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_schema_is_identified_and_valid(name: str) -> None:
    schema = schemas.schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:ccat-asset-orchestrator:{name.removesuffix('.json')}:1"
    assert schema["version"] == 1


def test_documented_manifest_is_a_manifest() -> None:
    example = published_manifest()
    manifest = Manifest.model_validate(example)
    assert manifest.model_dump(mode="json") == example
    jsonschema.validate(example, schemas.schema("manifest.json"))


def test_manifest_refuses_what_the_document_does_not_know() -> None:
    example = published_manifest()
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Manifest.model_validate(example | {"extra": 1})
    example["run"]["created_at"] = "2026-03-07T12:00:00"
    with pytest.raises(ValidationError, match="timezone"):
        Manifest.model_validate(example)
    example["run"]["created_at"] = "2026-03-07T12:00:00+01:00"
    with pytest.raises(ValidationError, match="must be UTC"):
        Manifest.model_validate(example)


def test_result_round_trip() -> None:
    result = Result.model_validate_json(json.dumps(RESULT))
    jsonschema.validate(RESULT, schemas.schema("result.json"))
    assert result.started_at == datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert Result.model_validate_json(result.model_dump_json()) == result
    with pytest.raises(ValidationError, match="frozen"):
        result.outcome = "failed"  # type: ignore[misc]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "output/../../x", "output//x", "./x", "output/", "a\0b"])
def test_output_path_stays_below_the_attempt(path: str) -> None:
    outputs = [RESULT["outputs"][0] | {"path": path}]
    with pytest.raises(ValidationError, match="path"):
        Result.model_validate(RESULT | {"outputs": outputs})


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"outcome": "done"},
        {"exit_code": 3},
        {"wall_seconds": float("nan")},
        {"wall_seconds": float("inf")},
        {"cpu_seconds": -1.0},
        {"image_sha256": "short"},
        {"submission_key": "a/b"},
        {"started_at": "2026-03-07T12:00:00"},
    ],
)
def test_result_refuses(change: dict[str, Any]) -> None:
    Result.model_validate(RESULT)
    with pytest.raises(ValidationError):
        Result.model_validate(RESULT | change)


def test_directories_are_the_documents() -> None:
    rows = {row[0].strip("`/"): row[1] for row in table("Outputs") if row[0].startswith("`")}
    assert rows == DIRECTORY_TYPES
    assert set(DIRECTORY_TYPES.values()) == set(PRODUCT_TYPES)


def test_exit_codes_are_the_documents() -> None:
    rows = {row[0]: (row[1], row[2]) for row in table("Exit codes")}
    assert rows == {
        "0": ("success", ""),
        "65": ("bad data", "no"),
        "78": ("bad configuration", "no"),
        "75": ("temporary failure", "yes"),
        "other 64–78 (sysexits)": ("permanent failure", "no"),  # noqa: RUF001 - as the document writes it
        "anything else": ("science failure", "within the step's budget"),
    }
    special = {
        0: ExitStatus(ExitMeaning.SUCCESS, retryable=False),
        65: ExitStatus(ExitMeaning.BAD_DATA, retryable=False),
        75: ExitStatus(ExitMeaning.TEMPORARY, retryable=True),
        78: ExitStatus(ExitMeaning.BAD_CONFIGURATION, retryable=False),
    }
    permanent = ExitStatus(ExitMeaning.PERMANENT, retryable=False)
    science = ExitStatus(ExitMeaning.SCIENCE, retryable=True)
    for code in range(-64, 300):
        expected = special.get(code, permanent if 64 <= code <= 78 else science)
        assert exit_status(code) == expected, code
