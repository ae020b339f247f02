"""Clean the raw series of one executed observation unit: order, duplicates, limits, outliers."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from site_pwv_contract import (
    BadConfigurationError,
    BadDataError,
    Manifest,
    Parameters,
    Series,
    read_rows,
    run_reduction,
    write_json,
    write_png,
    write_series,
)

MAD_TO_SIGMA = 1.4826  # of a normal distribution
FRACTION_REJECTED_LIMIT = 0.2


@dataclass(frozen=True)
class Rule:
    """What is rejected: PWV (mm) outside ]min, max], then outliers of ln PWV in a window of neighbouring rows."""

    min_pwv_mm: float
    max_pwv_mm: float
    outlier_window_rows: int
    outlier_sigmas: float
    outlier_min_sigma: float

    @classmethod
    def from_parameters(cls, parameters: Parameters) -> "Rule":
        """Read the rule from the manifest's parameters, else raise BadConfigurationError."""
        rule = cls(
            min_pwv_mm=parameters.number("min_pwv_mm", default=0.0, low=0.0, high=100.0),
            max_pwv_mm=parameters.number("max_pwv_mm", default=20.0, low=0.0, high=100.0),
            outlier_window_rows=parameters.whole_number("outlier_window_rows", default=21, low=3, high=1001),
            outlier_sigmas=parameters.number("outlier_sigmas", default=6.0, low=1.0, high=100.0),
            outlier_min_sigma=parameters.number("outlier_min_sigma", default=0.05, low=0.001, high=10.0),
        )
        parameters.refuse_unknown()
        if rule.min_pwv_mm >= rule.max_pwv_mm:
            raise BadConfigurationError(
                f"parameter min_pwv_mm = {rule.min_pwv_mm}: valid is less than max_pwv_mm = {rule.max_pwv_mm}"
            )
        return rule


def is_outlier(pwv_mm: NDArray[np.float64], rule: Rule) -> NDArray[np.bool_]:
    """Return which rows a Hampel identifier rejects (Davies & Gather 1993, J. Am. Stat. Assoc. 88, 782).

    The logarithm is taken because PWV is close to log-normal. A row is an outlier when it is more than
    `outlier_sigmas` times 1.4826 MAD (at least `outlier_min_sigma`) from the median of the `outlier_window_rows` rows
    around it; at the ends of the series the window is shifted inwards, a shorter series is one window.
    """
    log_pwv = np.log(pwv_mm)
    width = min(rule.outlier_window_rows, len(log_pwv))
    starts = np.clip(np.arange(len(log_pwv)) - width // 2, 0, len(log_pwv) - width)
    windows = np.lib.stride_tricks.sliding_window_view(log_pwv, width)
    medians = np.median(windows, axis=1)
    deviations = np.median(np.abs(windows - medians[:, np.newaxis]), axis=1)
    sigmas = np.maximum(MAD_TO_SIGMA * deviations, rule.outlier_min_sigma)
    outlier: NDArray[np.bool_] = np.abs(log_pwv - medians[starts]) > rule.outlier_sigmas * sigmas[starts]
    return outlier


def read_packages(manifest: Manifest) -> Series:
    """Return all rows of the manifest's packages verbatim from the files, else raise BadDataError."""
    modules = sorted({package.instrument_module for package in manifest.packages})
    files = [file for package in manifest.packages for file in package.files]
    if len(modules) != 1 or not files:
        raise BadDataError(f"expected files of one radiometer, found {len(files)} files of {modules}")
    rows = np.concatenate([read_rows(file) for file in files])
    return Series(modules[0], rows[:, 0], rows[:, 1])


def clean(raw: Series, rule: Rule) -> tuple[Series, dict[str, float]]:
    """Return the kept rows by time and the quality numbers, else raise BadDataError when nothing is kept."""
    mjd_utc, first = np.unique(raw.mjd_utc, return_index=True)  # sorts; of equal times the first row stays
    pwv_mm = raw.pwv_mm[first]
    physical = (pwv_mm > rule.min_pwv_mm) & (pwv_mm <= rule.max_pwv_mm)  # NaN compares false
    if not physical.any():
        raise BadDataError(f"none of {len(raw.pwv_mm)} rows is within {rule.min_pwv_mm} to {rule.max_pwv_mm} mm")
    mjd_utc, pwv_mm = mjd_utc[physical], pwv_mm[physical]
    outlier = is_outlier(pwv_mm, rule)
    kept = Series(raw.radiometer, mjd_utc[~outlier], pwv_mm[~outlier])
    n_rows, n_rejected = len(raw.pwv_mm), len(raw.pwv_mm) - len(kept.pwv_mm)
    return kept, {
        "n_rows": n_rows,
        "n_rejected": n_rejected,
        "n_duplicates": n_rows - len(first),
        "n_non_physical": int(np.count_nonzero(~physical)),
        "n_outliers": int(np.count_nonzero(outlier)),
        "fraction_rejected": n_rejected / n_rows,
        "fraction_rejected_max": FRACTION_REJECTED_LIMIT,
        "median_pwv_mm": float(np.median(kept.pwv_mm)),
    }


def plot(raw: Series, kept: Series, rule: Rule) -> Figure:
    """Draw kept rows over all rows against time."""
    figure = Figure(figsize=(6.0, 3.0), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    finite = np.isfinite(raw.pwv_mm)
    shown = np.clip(raw.pwv_mm[finite], rule.min_pwv_mm, rule.max_pwv_mm)
    axes.plot(raw.mjd_utc[finite], shown, ".", markersize=3, color="tab:red", label="rejected")
    axes.plot(kept.mjd_utc, kept.pwv_mm, ".", markersize=3, color="tab:blue", label="kept")
    axes.set(xlabel="MJD (UTC)", ylabel="PWV (mm)", title=f"{raw.radiometer}, {len(kept.pwv_mm)} rows kept")
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.legend(loc="upper right", fontsize="small")
    return figure


def reduce(manifest: Manifest, output: Path) -> None:
    """Write intermediate/pwv.csv, qa/clean.json and plots/pwv.png."""
    rule = Rule.from_parameters(Parameters(manifest.parameters))
    raw = read_packages(manifest)
    kept, quality = clean(raw, rule)
    write_series(output, kept)
    write_json(output / "qa" / "clean.json", quality)
    write_png(output / "plots" / "pwv.png", plot(raw, kept, rule))


if __name__ == "__main__":
    sys.exit(run_reduction(reduce))
