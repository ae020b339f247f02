"""Monthly and diurnal climatology of PWV over all radiometers, and their transmission quantiles combined."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from site_pwv_contract import (
    QUANTILE_NAMES,
    BadDataError,
    Manifest,
    Parameters,
    Series,
    UpstreamRun,
    quantiles,
    read_series,
    run_reduction,
    write_csv,
    write_json,
    write_png,
)

HEADER = ("quantity", "bin", "n_rows", *QUANTILE_NAMES)
MONTHS = range(1, 13)
HOURS = range(24)

Line = tuple[str, str, int, tuple[float, ...]]


def bin_lines(
    quantity: str, bins: Sequence[int], keys: NDArray[np.int64], pwv_mm: NDArray[np.float64], min_rows: int
) -> list[Line]:
    """Return the PWV quantiles (mm) of each bin; a bin of fewer rows than min_rows has none."""
    lines: list[Line] = []
    for one in bins:
        values = pwv_mm[keys == one]
        lines.append((quantity, f"{one:02d}", len(values), quantiles(values) if len(values) >= min_rows else ()))
    return lines


def read_transmission(run: UpstreamRun) -> list[Line]:
    """Read the transmission quantiles of one radiometer, else raise BadDataError."""
    path = run.product("science/transmission.csv")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return [
            ("transmission", row["band"], int(row["n_rows"]), tuple(float(row[name]) for name in QUANTILE_NAMES))
            for row in rows
        ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadDataError(f"{path} is no table of transmission quantiles: {error!r}") from error


def combine(tables: Sequence[Sequence[Line]]) -> list[Line]:
    """Average the radiometers' quantiles of each band, weighted by rows: an approximation of the joint quantiles."""
    by_band: dict[str, list[Line]] = {}
    for line in (line for table in tables for line in table):
        by_band.setdefault(line[1], []).append(line)
    combined: list[Line] = []
    for band, lines in by_band.items():
        weights = [n_rows for _, _, n_rows, _ in lines]
        means = np.average([values for *_, values in lines], axis=0, weights=weights)
        combined.append(("transmission", band, sum(weights), tuple(float(mean) for mean in means)))
    return combined


def months_used(runs: Sequence[UpstreamRun], series: Sequence[Series]) -> Iterator[dict[str, Any]]:
    """Yield every month that entered, with its radiometer, executed observation unit and rows."""
    for run, one in zip(runs, series, strict=True):
        for month, n_rows in zip(*np.unique(one.months(), return_counts=True), strict=True):
            yield {
                "month": str(month),
                "radiometer": one.radiometer,
                "executed_obs_unit": run.dimensions.get("executed_obs_unit"),
                "n_rows": int(n_rows),
            }


def plot(lines: Sequence[Line]) -> Figure:
    """Draw the PWV's median and quartiles against calendar month and hour of the day."""
    figure = Figure(figsize=(7.0, 3.0), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, quantity, label in zip(
        panels, ("pwv_mm_by_month", "pwv_mm_by_hour"), ("month", "hour (UTC)"), strict=True
    ):
        filled = [(int(one), values) for name, one, _, values in lines if name == quantity and values]
        places = [place for place, _ in filled]
        low, median, high = ([values[i] for _, values in filled] for i in (1, 2, 3))
        axes.vlines(places, low, high, color="tab:blue", linewidth=4, alpha=0.4, label="25 to 75 %")
        axes.plot(places, median, "o", markersize=4, color="tab:blue", label="median")
        axes.set(xlabel=label)
    panels[0].set(ylabel="PWV (mm)")
    panels[0].legend(fontsize="small")
    return figure


def quality_numbers(lines: Sequence[Line], statistics: dict[str, Any]) -> dict[str, float]:
    """Return the flat numbers of qa/climatology.json; medians of PWV in mm."""
    quality: dict[str, float] = {name: statistics[name] for name in ("n_rows", "n_months", "n_radiometers")}
    quality["median_pwv_mm"] = statistics["pwv_mm"]["q50"]
    months = [(values[2], int(one)) for name, one, _, values in lines if name == "pwv_mm_by_month" and values]
    if months:
        quality["driest_month_median_pwv_mm"], quality["driest_month"] = min(months)
    for name, band, _, values in lines:
        if name == "transmission":
            quality[f"{band}_median"] = values[2]
    return quality


def reduce(manifest: Manifest, output: Path) -> None:
    """Write science/climatology.csv, statistics/climatology.json, qa/climatology.json and plots/climatology.png."""
    parameters = Parameters(manifest.parameters)
    min_rows = parameters.whole_number("min_rows", default=1, low=1, high=1_000_000)
    parameters.refuse_unknown()
    runs = manifest.upstream_of("clean")
    transmission = combine([read_transmission(run) for run in manifest.upstream_of("transmission")])
    series = [read_series(run) for run in runs]
    pwv_mm = np.concatenate([one.pwv_mm for one in series])
    months = np.concatenate([one.months().astype(np.int64) % 12 + 1 for one in series])  # counted from 1970-01
    hours = np.concatenate([one.hours() for one in series])
    lines = bin_lines("pwv_mm_by_month", MONTHS, months, pwv_mm, min_rows)
    lines += bin_lines("pwv_mm_by_hour", HOURS, hours, pwv_mm, min_rows)
    lines += transmission
    used = sorted(months_used(runs, series), key=lambda entry: (entry["radiometer"], entry["month"]))
    statistics = {
        "n_rows": len(pwv_mm),
        "n_months": len(used),
        "n_radiometers": len({entry["radiometer"] for entry in used}),
        "months": used,
        "pwv_mm": dict(zip(QUANTILE_NAMES, quantiles(pwv_mm), strict=True)),
    }
    cells = [(name, one, str(n), *([f"{v:.9f}" for v in values] or [""] * 5)) for name, one, n, values in lines]
    write_csv(output / "science" / "climatology.csv", HEADER, cells)
    write_json(output / "statistics" / "climatology.json", statistics)
    write_json(output / "qa" / "climatology.json", quality_numbers(lines, statistics))
    write_png(output / "plots" / "climatology.png", plot(lines))


if __name__ == "__main__":
    sys.exit(run_reduction(reduce))
