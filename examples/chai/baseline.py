"""Spectra less their baselines: a polynomial fitted off the line, bad spectra flagged."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from chai_contract import BadConfigurationError, BadDataError, Task, run
from chai_plots import plot_spectra
from chai_radiometry import radiometer_rms_k
from chai_spectra import Spectra, concatenate, read_spectra, write_spectra
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def reduce(task: Task) -> None:
    """Subtract a baseline from every spectrum of the sub-group."""
    parameters = task.parameters
    parameters.only("line_window_km_s", "order", "flag_factor", "flagged_fraction_limit")
    window = parameters.window("line_window_km_s", (-15.0, 500.0))
    order = parameters.count("order", 1, 6)
    factor = parameters.number("flag_factor", 1.5, 1.0, 100.0)
    limit = parameters.number("flagged_fraction_limit", 0.05, 0.0, 1.0)
    parts = [read_spectra(path) for _, path in task.upstream_files("spectra.fits")]
    if not parts:
        raise BadDataError("the manifest has no upstream product spectra.fits")
    before = concatenate(parts)
    after = flag_noisy(subtract_baselines(before, window, order), factor)
    if after.flag.all():
        raise BadDataError(f"all {len(after.flag)} spectra are noisier than {factor:g} times the radiometer equation")
    write_spectra(task.product("intermediate/baselined.fits"), after)
    metrics = {"rms_k": float(np.median(after.rms[~after.flag])), "n_spectra": len(after.flag)}
    flagged = {"n_flagged": int(after.flag.sum()), "flagged_fraction": float(after.flag.mean())}
    task.write_quality("baseline", {**metrics, **flagged, "flagged_fraction_max": limit})
    means = {"before": before.t.mean(axis=0), "after": after.t[~after.flag].mean(axis=0)}
    title = f"{after.frame.object} {after.frame.line}, mean spectrum, order {order}"
    plot_spectra(task.product("plots/baselined.png"), after.velocity_km_s, means, title, "T_A* / K")


def subtract_baselines(spectra: Spectra, window: tuple[float, float], order: int) -> Spectra:
    """Least squares of a polynomial in velocity outside the window; rms [K] is what remains there."""
    velocity = spectra.velocity_km_s
    free = (velocity < window[0]) | (velocity > window[1])
    if free.sum() < 2 * (order + 1):
        raise BadConfigurationError(
            f"parameter 'line_window_km_s' is {list(window)}; it leaves {free.sum()} of {len(free)} channels for a "
            f"baseline of order {order}; valid: a window inside {velocity.min():.0f} to {velocity.max():.0f} km/s "
            f"that leaves {2 * (order + 1)}"
        )
    x = np.interp(velocity, (velocity.min(), velocity.max()), (-1, 1))
    powers = x[:, None] ** np.arange(order + 1)
    basis, triangle = np.linalg.qr(powers[free])
    everywhere = powers @ np.linalg.inv(triangle)
    t = spectra.t.astype(float)
    fit = np.zeros_like(t)
    for term in range(order + 1):
        fit += (t[:, free] * basis[:, term]).sum(axis=1)[:, None] * everywhere[:, term]
    t -= fit
    rms = np.sqrt((t[:, free] ** 2).sum(axis=1) / (free.sum() - order - 1))
    return dataclasses.replace(spectra, t=t, rms=rms)


def flag_noisy(spectra: Spectra, factor: float) -> Spectra:
    """Flag spectra that are not finite or noisier than factor times the radiometer equation."""
    width = abs(spectra.frame.freqdel)
    expected = radiometer_rms_k(spectra.t_sys, width, spectra.on_s, spectra.off_s)
    good = np.isfinite(spectra.t).all(axis=1) & (spectra.rms < factor * expected)
    return dataclasses.replace(spectra, flag=spectra.flag | ~good)


if __name__ == "__main__":
    run(reduce)
