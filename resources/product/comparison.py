"""Compare the files of a second execution of a run with the registered files of the first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ccat_models.contract.result import Output, Result
from ccat_models.lineage.completed import CompletedRun
from ccat_models.tables.products import DataProduct
from resources.workspace.outputs import read_metrics
from resources.workspace.store import Found


class FileFinding(Enum):
    """How a file of the second execution compares with that of the first."""

    IDENTICAL = "identical"
    DIFFERS = "differs"
    MISSING = "missing"
    NEW = "new"


@dataclass(frozen=True)
class NumberDifference:
    """A number of a qa/*.json that differs between the executions; None for an execution that lacks it."""

    name: str
    recorded: float | None
    now: float | None


@dataclass(frozen=True)
class FileComparison:
    """A file as registered and as the second execution made it; sizes and checksums are None for a missing file."""

    path: str
    finding: FileFinding
    recorded_size_bytes: int | None
    recorded_sha256: str | None
    size_bytes: int | None
    sha256: str | None
    numbers: tuple[NumberDifference, ...] = ()


def compare_files(recorded: CompletedRun, result: Result, found: Found, place: Path) -> tuple[FileComparison, ...]:
    """Return the comparison of every file of either execution, sorted by path.

    `place` is the directory of the second attempt. Raises OutputsUnusable where a qa/*.json breaks the contract.
    """
    output_directory = found.output_directory or ""
    made = {output.path.removeprefix(f"{output_directory}/"): output for output in result.outputs}
    read = read_metrics(place, output_directory, found.numbers)
    numbers = {path: {metric.name: metric.value for metric in metrics} for path, metrics in read.items()}
    return tuple(
        _compare(
            path,
            recorded.products.get(path),
            made.get(path),
            _differing(recorded.numbers.get(path, {}), numbers.get(path, {})),
        )
        for path in sorted({*recorded.products, *made})
    )


def differing_fields(recorded: Any, now: Any, place: str = "") -> Iterable[str]:
    """Yield the fields in which two JSON values differ, like "a.b[0]"; `place` is put before each."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in sorted({*recorded, *now}):
            inner = f"{place}.{name}" if place else name
            yield from differing_fields(recorded.get(name), now.get(name), inner)
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for number, (one, other) in enumerate(zip(recorded, now, strict=True)):
            yield from differing_fields(one, other, f"{place}[{number}]")
    elif recorded != now:
        yield place


def _compare(
    path: str, product: DataProduct | None, output: Output | None, numbers: tuple[NumberDifference, ...]
) -> FileComparison:
    if product is None:
        finding = FileFinding.NEW
    elif output is None:
        finding = FileFinding.MISSING
    else:
        same = (product.size_bytes, product.sha256) == (output.size_bytes, output.sha256)
        finding = FileFinding.IDENTICAL if same else FileFinding.DIFFERS
    return FileComparison(
        path=path,
        finding=finding,
        recorded_size_bytes=None if product is None else product.size_bytes,
        recorded_sha256=None if product is None else product.sha256,
        size_bytes=None if output is None else output.size_bytes,
        sha256=None if output is None else output.sha256,
        numbers=numbers if finding is FileFinding.DIFFERS else (),
    )


def _differing(recorded: Mapping[str, float], now: Mapping[str, float]) -> tuple[NumberDifference, ...]:
    return tuple(
        NumberDifference(name, recorded.get(name), now.get(name))
        for name in sorted({*recorded, *now})
        if recorded.get(name) != now.get(name)
    )
