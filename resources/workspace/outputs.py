"""Check the outputs of an attempt before they are registered, and read the numbers of its qa/*.json."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccat_models.contract.result import Result
from ccat_models.product.collect import Metric
from resources.errors import OutputsUnusable

_LONGEST_PATH = 500  # of a product, in characters, as the column in ops-db
_LONGEST_NAME = 200  # of a metric


def check_paths(attempt_directory: Path, result: Result) -> None:
    """Raise OutputsUnusable for an output whose path is too long for ops-db."""
    for output in result.outputs:
        if len(output.path) > _LONGEST_PATH:
            raise OutputsUnusable(f"{attempt_directory / output.path}: a path of more than {_LONGEST_PATH} characters")


def file_sha256(path: Path) -> str:
    """Return a file's sha256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metrics(attempt_directory: Path, output_directory: str, numbers: Mapping[str, str]) -> dict[str, list[Metric]]:
    """Return the metrics of each qa/*.json, by product path; raise OutputsUnusable where one breaks the contract.

    `numbers` holds the text of each file, by its path below the attempt's directory. `NAME_min` and `NAME_max` become
    the limits of `NAME`. If files share a name, all names are prefixed by their file's stem.
    """
    prefix = output_directory + "/"
    found = {
        path.removeprefix(prefix): _metrics(attempt_directory / path, text) for path, text in sorted(numbers.items())
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


def _metrics(path: Path, text: str) -> list[Metric]:
    try:
        content = json.loads(text)
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
