"""The container contract as a reduction program sees it: manifest in, products and an exit code out."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXIT_BAD_DATA = 65
EXIT_BAD_CONFIGURATION = 78


class BadDataError(Exception):
    """An input is missing, broken or impossible: the same input will fail again."""


class BadConfigurationError(Exception):
    """A parameter or the manifest is wrong: the pipeline has to be changed."""


@dataclass(frozen=True)
class Task:
    """One attempt: the manifest and the directory its products go to."""

    manifest: Mapping[str, Any]
    output: Path

    @classmethod
    def from_environment(cls) -> Task:
        """Read the manifest that WORKFLOW_MANIFEST names."""
        try:
            manifest, output = os.environ["WORKFLOW_MANIFEST"], os.environ["WORKFLOW_OUTPUT_DIR"]  # noqa: TID251
        except KeyError as missing:
            raise BadConfigurationError(f"environment variable {missing} is not set") from missing
        try:
            return cls(json.loads(Path(manifest).read_text()), Path(output))
        except (OSError, ValueError) as error:
            raise BadConfigurationError(f"manifest {manifest!r} cannot be read: {error}") from error

    @property
    def parameters(self) -> Parameters:
        """The step's parameters."""
        return Parameters(self.manifest["parameters"])

    def package_files(self, ending: str) -> Iterator[tuple[str, Path]]:
        """Each raw data package with its one file of this ending; raises BadDataError where there is not one."""
        for package in self.manifest["inputs"]:
            paths = [file["path"] for file in package["files"]]
            yield package["name"], _only(package, paths, ending, f"raw data package {package['name']!r}")

    def upstream_files(self, ending: str) -> Iterator[tuple[str, Path]]:
        """Each upstream sub-group with its one product of this ending; raises BadDataError where there is not one."""
        for run in self.manifest["upstream"]:
            paths = [product["path"] for product in run["products"]]
            yield run["sub_group"], _only(run, paths, ending, f"upstream {run['step']!r} of {run['sub_group']!r}")

    def product(self, path: str) -> Path:
        """Where a product goes, its directory made."""
        target = self.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def write_quality(self, name: str, metrics: Mapping[str, float]) -> None:
        """Write qa/<name>.json, a flat object of finite numbers; raises BadDataError for any other."""
        for key, value in metrics.items():
            if not math.isfinite(value):
                raise BadDataError(f"quality metric {key} of {name} is {value}, not a finite number")
        self.product(f"qa/{name}.json").write_text(json.dumps(dict(metrics), indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Parameters:
    """A step's parameters; every refusal names the parameter, its value and the valid choices."""

    values: Mapping[str, Any]

    def only(self, *names: str) -> None:
        """Refuse parameters of other names."""
        for name in self.values:
            if name not in names:
                raise BadConfigurationError(f"unknown parameter {name!r}; valid parameters: {', '.join(names)}")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """One word of several."""
        value = self.values.get(name, default)
        if value not in choices:
            raise _refusal(name, value, " or ".join(choices))
        return str(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from low to high."""
        value = self.values.get(name, default)
        if not _is_number(value) or not low <= value <= high:
            raise _refusal(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, default: int, high: int) -> int:
        """A whole number from 0 to high."""
        value = self.values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
            raise _refusal(name, value, f"a whole number from 0 to {high}")
        return value

    def window(self, name: str, default: tuple[float, float]) -> tuple[float, float]:
        """A lower and an upper bound."""
        value = self.values.get(name, default)
        is_pair = isinstance(value, list | tuple) and len(value) == len(default) and all(map(_is_number, value))
        if not is_pair or not value[0] < value[1]:
            raise _refusal(name, value, "two numbers, [lower, upper], lower < upper")
        return float(value[0]), float(value[1])


def run(reduction: Callable[[Task], None]) -> None:
    """Run a reduction by the contract: exit 65 for bad data, 78 for a bad configuration."""
    try:
        reduction(Task.from_environment())
    except BadDataError as error:
        print(f"bad data: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_DATA)
    except BadConfigurationError as error:
        print(f"bad configuration: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_CONFIGURATION)


def _only(entry: Mapping[str, Any], paths: list[str], ending: str, place: str) -> Path:
    found = [path for path in paths if path.endswith(ending)]
    if len(found) != 1:
        raise BadDataError(f"{place} has {len(found)} files {ending}, not one; its files: {', '.join(paths) or 'none'}")
    path = Path(entry["path"]) / found[0]
    if not path.is_file():
        raise BadDataError(f"{place}: {path} does not exist")
    return path


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refusal(name: str, value: object, valid: str) -> BadConfigurationError:
    return BadConfigurationError(f"parameter {name!r} is {value!r}; valid: {valid}")
