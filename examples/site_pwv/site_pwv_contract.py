"""What the three reductions share: the container contract, parameters, PWV series and their files."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

EXIT_BAD_DATA = 65
EXIT_BAD_CONFIGURATION = 78

QUANTILES = (0.10, 0.25, 0.50, 0.75, 0.90)
QUANTILE_NAMES = ("q10", "q25", "q50", "q75", "q90")

SERIES_PATH = "intermediate/pwv.csv"
SERIES_HEADER = "mjd_utc,pwv_mm"
_RADIOMETER_COMMENT = "# radiometer: "


class BadDataError(Exception):
    """The data cannot be reduced, however often it is tried: exit code 65."""


class BadConfigurationError(Exception):
    """A parameter or the manifest is wrong and has to be changed: exit code 78."""


@dataclass(frozen=True)
class Package:
    """One raw data package of the manifest and the instrument module that took it."""

    name: str
    instrument_module: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class UpstreamRun:
    """One upstream run of the manifest: its step, its dimensions and the files it left."""

    step: str
    sub_group: str
    dimensions: Mapping[str, str]
    folder: Path
    products: tuple[str, ...]

    def product(self, path: str) -> Path:
        """Return the file of a product the run declared, else raise BadDataError."""
        if path not in self.products:
            raise BadDataError(f"{self.step} of {self.sub_group!r} declares no product {path}: {list(self.products)}")
        return self.folder / path


@dataclass(frozen=True)
class Manifest:
    """The part of manifest.json these reductions use; packages and upstream runs are sorted by name."""

    dimensions: Mapping[str, str]
    packages: tuple[Package, ...]
    upstream: tuple[UpstreamRun, ...]
    parameters: Mapping[str, Any]

    def upstream_of(self, step: str) -> tuple[UpstreamRun, ...]:
        """Return the upstream runs of a step, at least one, else raise BadDataError."""
        runs = tuple(run for run in self.upstream if run.step == step)
        if not runs:
            raise BadDataError(f"the manifest has no upstream run of step {step!r}")
        return runs


def read_manifest(path: Path) -> Manifest:
    """Read manifest.json, else raise BadConfigurationError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        packages = [_package(entry) for entry in document["inputs"]]
        upstream = [_upstream_run(entry) for entry in document["upstream"]]
        return Manifest(
            dimensions=document["sub_group"]["dimensions"],
            packages=tuple(sorted(packages, key=lambda package: package.name)),
            upstream=tuple(sorted(upstream, key=lambda run: (run.step, run.sub_group))),
            parameters=document["parameters"],
        )
    except OSError as error:
        raise BadConfigurationError(f"manifest {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfigurationError(f"manifest {path} does not follow the contract: {error!r}") from error


def _package(entry: Mapping[str, Any]) -> Package:
    folder = Path(entry["path"])
    files = tuple(folder / file["path"] for file in entry["files"])
    return Package(entry["name"], entry["instrument_module"], files)


def _upstream_run(entry: Mapping[str, Any]) -> UpstreamRun:
    products = tuple(product["path"] for product in entry["products"])
    return UpstreamRun(entry["step"], entry["sub_group"], entry["dimensions"], Path(entry["path"]), products)


class Parameters:
    """Reads parameters one by one; each refusal names parameter, value and what is valid."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._known: list[str] = []

    def number(self, name: str, *, default: float, low: float, high: float) -> float:
        """Return a number from low to high, both included."""
        self._known.append(name)
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadConfigurationError(f"parameter {name} = {value!r}: valid is a number from {low} to {high}")
        return float(value)

    def whole_number(self, name: str, *, default: int, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        self._known.append(name)
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadConfigurationError(f"parameter {name} = {value!r}: valid is a whole number from {low} to {high}")
        return value

    def names(self, name: str, *, choices: Sequence[str]) -> tuple[str, ...]:
        """Return some of the choices in the choices' order; all of them when the parameter is not given."""
        self._known.append(name)
        value = self._given.get(name, list(choices))
        if not isinstance(value, list) or not value or any(item not in choices for item in value):
            raise BadConfigurationError(f"parameter {name} = {value!r}: valid is a list of {', '.join(choices)}")
        return tuple(choice for choice in choices if choice in value)

    def refuse_unknown(self) -> None:
        """Raise BadConfigurationError for a parameter that was given and never asked for."""
        for name in sorted(set(self._given) - set(self._known)):
            valid = ", ".join(self._known)
            raise BadConfigurationError(f"parameter {name} = {self._given[name]!r} is unknown: valid are {valid}")


@dataclass(frozen=True)
class Series:
    """Times (MJD, UTC) and precipitable water vapour (mm) of one radiometer, row by row."""

    radiometer: str
    mjd_utc: NDArray[np.float64]
    pwv_mm: NDArray[np.float64]

    def months(self) -> NDArray[np.datetime64]:
        """Return the UTC calendar month of each row."""
        days = np.datetime64("1858-11-17", "D") + np.floor(self.mjd_utc).astype("timedelta64[D]")
        return days.astype("datetime64[M]")

    def hours(self) -> NDArray[np.int64]:
        """Return the UTC hour of the day of each row, after rounding to the second."""
        # an MJD in double precision is good to a microsecond: 06:00 may be written as 05:59:59.9999993
        seconds = np.rint((self.mjd_utc % 1.0) * 86400.0).astype(np.int64)
        return seconds // 3600 % 24


def read_rows(path: Path, *, separator: str | None = None, header: str | None = None) -> NDArray[np.float64]:
    """Return two columns, MJD (UTC) and PWV (mm; NaN is allowed), else raise BadDataError with file and line."""
    rows: list[tuple[float, float]] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#") or text == header:
            continue
        try:
            mjd_text, pwv_text = text.split(separator)
            mjd_utc, pwv_mm = float(mjd_text), float(pwv_text)
        except ValueError:
            raise BadDataError(f"{path}, line {number}: not MJD and PWV: {text!r}") from None
        if not math.isfinite(mjd_utc):
            raise BadDataError(f"{path}, line {number}: time is not finite: {text!r}")
        rows.append((mjd_utc, pwv_mm))
    if not rows:
        raise BadDataError(f"{path} holds no rows")
    return np.array(rows, dtype=np.float64)


def write_series(output: Path, series: Series) -> None:
    """Write a cleaned series as intermediate/pwv.csv; 12 decimals are the precision of the raw data."""
    rows = zip(series.mjd_utc.tolist(), series.pwv_mm.tolist(), strict=True)
    lines = [f"{_RADIOMETER_COMMENT}{series.radiometer}", SERIES_HEADER]
    lines += [f"{mjd_utc:.12f},{pwv_mm:.12f}" for mjd_utc, pwv_mm in rows]
    write_text(output / SERIES_PATH, "\n".join(lines) + "\n")


def read_series(run: UpstreamRun) -> Series:
    """Read the cleaned series an upstream run left, else raise BadDataError."""
    path = run.product(SERIES_PATH)
    rows = read_rows(path, separator=",", header=SERIES_HEADER)
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith(_RADIOMETER_COMMENT):
        raise BadDataError(f"{path}, line 1: no radiometer: {first!r}")
    return Series(first.removeprefix(_RADIOMETER_COMMENT), rows[:, 0], rows[:, 1])


def quantiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the 10, 25, 50, 75 and 90 % quantiles, linear between neighbours."""
    return tuple(float(value) for value in np.quantile(values, QUANTILES))


def write_text(path: Path, text: str) -> None:
    """Write a text file with plain line feeds and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a comma-separated table; cells hold no commas."""
    write_text(path, "".join(",".join(cells) + "\n" for cells in (header, *rows)))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys."""
    write_text(path, json.dumps(document, indent=2, sort_keys=True) + "\n")


def write_png(path: Path, figure: Figure) -> None:
    """Write a figure without date and software, so that equal figures are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})


def run_reduction(reduce: Callable[[Manifest, Path], None]) -> int:
    """Run a reduction on WORKFLOW_MANIFEST and WORKFLOW_OUTPUT_DIR and return the contract's exit code."""
    try:
        manifest = read_manifest(Path(_environment("WORKFLOW_MANIFEST")))
        reduce(manifest, Path(_environment("WORKFLOW_OUTPUT_DIR")))
    except BadDataError as error:
        print(f"bad data: {error}", file=sys.stderr)
        return EXIT_BAD_DATA
    except BadConfigurationError as error:
        print(f"bad configuration: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    return 0


def _environment(name: str) -> str:
    value = os.environ.get(name)  # noqa: TID251  # a reduction is handed its two paths by the contract
    if not value:
        raise BadConfigurationError(f"environment variable {name} is not set")
    return value
