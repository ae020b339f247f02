"""Quantiles of the zenith atmospheric transmission in the CHAI and Prime-Cam bands for one radiometer."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from site_pwv_contract import (
    QUANTILE_NAMES,
    BadDataError,
    Manifest,
    Parameters,
    Series,
    quantiles,
    read_series,
    run_reduction,
    write_csv,
    write_json,
    write_png,
)


@dataclass(frozen=True)
class Band:
    """A band's centre (GHz) and its zenith opacity: wet (nepers per mm of PWV) and dry (nepers)."""

    instrument: str
    frequency_ghz: float
    wet_per_mm: float
    dry: float

    def transmission(self, pwv_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the approximate zenith transmission, exp(-(wet * PWV + dry)), for a PWV in mm.

        The form tau = dry(nu) + PWV * wet(nu) is the one Holdaway's almatau uses for Chajnantor. The wet terms are the
        ATM model's (Pardo, Cernicharo & Serabyn 2001, IEEE Trans. Antennas Propag. 49, 1683) for 5050 m, 270 K and
        555 hPa; the dry terms (oxygen lines and nitrogen continuum) are ITU-R P.676-12 integrated above 5050 m for
        the same pressure. It is an approximation: one frequency stands for a band, ozone lines are left out, and the
        profile of the atmosphere is fixed.
        """
        values: NDArray[np.float64] = np.exp(-(self.wet_per_mm * pwv_mm + self.dry))
        return values


BANDS = {
    "chai_461": Band("CHAI", 461.041, 0.690, 0.034),  # CO(4-3)
    "chai_492": Band("CHAI", 492.161, 0.937, 0.116),  # [CI] 1-0
    "chai_806": Band("CHAI", 806.652, 1.495, 0.078),  # CO(7-6)
    "chai_809": Band("CHAI", 809.342, 1.430, 0.078),  # [CI] 2-1
    "primecam_220": Band("Prime-Cam", 220.0, 0.041, 0.008),
    "primecam_280": Band("Prime-Cam", 280.0, 0.066, 0.012),
    "primecam_350": Band("Prime-Cam", 350.0, 0.161, 0.018),
    "primecam_410": Band("Prime-Cam", 410.0, 0.280, 0.043),
    "primecam_850": Band("Prime-Cam", 850.0, 1.097, 0.084),
}


def read_radiometer(manifest: Manifest) -> tuple[str, list[Series]]:
    """Return the radiometer and its cleaned series, else raise BadDataError when another radiometer's is among them."""
    series = [read_series(run) for run in manifest.upstream_of("clean")]
    found = sorted({one.radiometer for one in series})
    expected = manifest.dimensions.get("instrument_module", found[0])
    if found != [expected]:
        raise BadDataError(f"sub-group is of radiometer {expected}, its upstream runs are of {found}")
    return expected, series


def write_tables(output: Path, n_rows: int, transmission: dict[str, tuple[float, ...]]) -> None:
    """Write science/transmission.csv, one line a band."""
    rows = []
    for name, values in transmission.items():
        band = BANDS[name]
        numbers = [f"{value:.9f}" for value in values]
        rows.append([name, band.instrument, f"{band.frequency_ghz:.3f}", str(n_rows), *numbers])
    write_csv(
        output / "science" / "transmission.csv",
        ("band", "instrument", "frequency_ghz", "n_rows", *QUANTILE_NAMES),
        rows,
    )


def plot(radiometer: str, transmission: dict[str, tuple[float, ...]]) -> Figure:
    """Draw the median and the 10 to 90 % range of each band."""
    figure = Figure(figsize=(6.0, 3.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    places = list(range(len(transmission)))
    low, _, median, _, high = zip(*transmission.values(), strict=True)
    axes.vlines(places, low, high, color="tab:blue", linewidth=6, alpha=0.4, label="10 to 90 %")
    axes.plot(places, median, "o", color="tab:blue", label="median")
    axes.set_xticks(places, list(transmission), rotation=30, ha="right", fontsize="small")
    axes.set(ylabel="zenith transmission", ylim=(0.0, 1.0), title=radiometer)
    axes.legend(loc="upper left", fontsize="small")
    return figure


def reduce(manifest: Manifest, output: Path) -> None:
    """Write science/transmission.csv, qa/transmission.json and plots/transmission.png."""
    parameters = Parameters(manifest.parameters)
    names = parameters.names("bands", choices=tuple(BANDS))
    pwv_ratio = parameters.number("pwv_ratio", default=1.0, low=0.01, high=2.0)
    parameters.refuse_unknown()
    radiometer, series = read_radiometer(manifest)
    pwv_mm = pwv_ratio * np.concatenate([one.pwv_mm for one in series])
    transmission = {name: quantiles(BANDS[name].transmission(pwv_mm)) for name in names}
    quality: dict[str, float] = {"n_rows": len(pwv_mm), "n_series": len(series)}
    for name, (_, _, median, _, _) in transmission.items():
        quality |= {f"{name}_median": median, f"{name}_median_min": 0.0, f"{name}_median_max": 1.0}
    write_tables(output, len(pwv_mm), transmission)
    write_json(output / "qa" / "transmission.json", quality)
    write_png(output / "plots" / "transmission.png", plot(radiometer, transmission))


if __name__ == "__main__":
    sys.exit(run_reduction(reduce))
