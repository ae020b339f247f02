"""What an attempt left behind, checked against its result before anything is registered."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.contract.job import Job
from ccat_models.contract.result import Output, Result
from ccat_models.product.collect import Metric
from resources.errors import OutputsUnusable

_REHASH_LIMIT_BYTES = 64 * 1024 * 1024  # larger files keep the checksum that the node computed
_LONGEST_PATH = 500  # of a product, as ops-db keeps it
_LONGEST_NAME = 200  # of a metric


def output_directory_of(attempt_directory: Path) -> str:
    """Return where an attempt's program wrote, relative to the attempt's directory, as its wrapper was told."""
    path = attempt_directory / "job.json"
    try:
        return Job.model_validate_json(path.read_bytes()).output_directory
    except (OSError, ValueError) as error:
        raise OutputsUnusable(f"{path}: {error}") from error


def verify_outputs(attempt_directory: Path, result: Result) -> None:
    """Compare each output with its size and, up to 64 MiB, its sha256; raise OutputsUnusable naming the first bad one.

    Outputs are never followed through symbolic links.
    """
    root = attempt_directory.resolve()
    for output in result.outputs:
        path = attempt_directory / output.path
        if not path.is_file() or path.is_symlink() or path.resolve() != root / output.path:
            raise OutputsUnusable(f"{path}: not a regular file of this attempt")
        if len(output.path) > _LONGEST_PATH:
            raise OutputsUnusable(f"{path}: a path of more than {_LONGEST_PATH} characters")
        size = path.stat().st_size
        if size != output.size_bytes:
            raise OutputsUnusable(f"{path}: {size} bytes, {output.size_bytes} when the program ended")
        if size <= _REHASH_LIMIT_BYTES and file_sha256(path) != output.sha256:
            raise OutputsUnusable(f"{path}: its checksum is not what it was when the program ended")


def file_sha256(path: Path) -> str:
    """Return a file's sha256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metrics(attempt_directory: Path, output_directory: str, result: Result) -> dict[str, list[Metric]]:
    """Return the numbers of each qa/*.json by product path; raise OutputsUnusable where one breaks the contract.

    A name that stands in several files is told apart by its file's stem.
    """
    prefix = output_directory + "/"
    found = {
        output.path.removeprefix(prefix): _metrics(attempt_directory / output.path)
        for output in sorted(result.outputs, key=_path)
        if output.type == "qa_metric" and output.path.endswith(".json")
    }
    if len(set(_names(found))) < len(_names(found)):
        found = {
            path: [Metric(f"{Path(path).stem}.{m.name}", m.value, m.minimum, m.maximum) for m in metrics]
            for path, metrics in found.items()
        }
    bad = [name for name, times in Counter(_names(found)).items() if times > 1 or len(name) > _LONGEST_NAME]
    if bad:
        raise OutputsUnusable(f"{attempt_directory}: a number's name is too long or not the only one: {min(bad):.80}")
    return found


def _names(found: Mapping[str, Sequence[Metric]]) -> list[str]:
    return [metric.name for metrics in found.values() for metric in metrics]


def _path(output: Output) -> str:
    return output.path


def _metrics(path: Path) -> list[Metric]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise OutputsUnusable(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise OutputsUnusable(f"{path}: must hold one object of numbers, got {type(content).__name__}")
    values = {name: _number(path, name, value) for name, value in content.items()}
    limits = {name for name in values if name.rpartition("_")[2] in {"min", "max"} and name[:-4] in values}
    return [
        Metric(name, value, values.get(f"{name}_min"), values.get(f"{name}_max"))
        for name, value in values.items()
        if name not in limits
    ]


def _number(path: Path, name: str, value: object) -> float:
    if not name.isprintable():
        raise OutputsUnusable(f"{path}: a name must be printable, got {name!r:.50}")
    if not isinstance(value, bool | int | float) or not abs(value) <= sys.float_info.max:  # NaN is not, either
        raise OutputsUnusable(f"{path}: {name} must be a finite number or a boolean, got {value!r:.50}")
    return float(value)
