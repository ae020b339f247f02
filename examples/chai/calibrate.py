"""Counts to T_A*: chopper-wheel calibration of every spectrum against hot load, cold load and blank sky."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chai_radiometry as radiometry
import numpy as np
from chai_contract import BadDataError, Task, run
from chai_plots import plot_spectra
from chai_spectra import Spectra, concatenate, read_cards, read_table, write_spectra
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Loads:
    """Counts per second on hot, cold and sky by block, pixel and channel; elevation [deg] by block."""

    frequency_hz: float
    t_hot_k: float
    t_cold_k: float
    t_ambient_k: float
    elevation_deg: Array
    hot: Array
    cold: Array
    sky: Array

    def brightness_k(self, temperature_k: float) -> float:
        """J(T) in the line."""
        return radiometry.rayleigh_jeans_k(temperature_k, self.frequency_hz)


@dataclass(frozen=True)
class Calibration:
    """T_cal [K] by block, pixel and channel, and the quality metrics found on the way."""

    t_cal_k: Array
    metrics: Mapping[str, float]


def reduce(task: Task) -> None:
    """Calibrate every raw data package of the sub-group."""
    parameters = task.parameters
    parameters.only("calibration_mode", "forward_efficiency", "t_sys_limit_k")
    mode = parameters.choice("calibration_mode", "hot_cold", ("hot_cold", "chopper"))
    efficiency = parameters.number("forward_efficiency", 0.95, 0.5, 1.0)
    limit = parameters.number("t_sys_limit_k", 1500.0, 0.0, 1e6)
    files = zip(task.package_files("loads.fits"), task.package_files("otf.fits"), strict=True)
    scans = [calibrate(name, loads, otf, mode, efficiency) for (name, loads), (_, otf) in files]
    if not scans:
        raise BadDataError("the manifest has no raw data package")
    spectra = concatenate([part for part, _ in scans])
    write_spectra(task.product("intermediate/spectra.fits"), spectra)
    found = {key: float(np.mean([metrics[key] for _, metrics in scans])) for key in scans[0][1]}
    t_sys = {"t_sys_k": float(np.median(spectra.t_sys)), "t_sys_k_max": limit}
    task.write_quality("calibrate", {**found, **t_sys, "n_spectra": len(spectra.t)})
    means = {f"pixel {pixel}": spectra.t[spectra.pixel == pixel].mean(axis=0) for pixel in np.unique(spectra.pixel)}
    title = f"{spectra.frame.object} {spectra.frame.line}, mean of each pixel, {mode}"
    plot_spectra(task.product("plots/spectra.png"), spectra.velocity_km_s, means, title, "T_A* / K")


def calibrate(
    name: str, load_path: Path, otf_path: Path, mode: str, efficiency: float
) -> tuple[Spectra, Mapping[str, float]]:
    """Calibrate one package; raises BadDataError if its counts are impossible."""
    loads = read_loads(name, load_path)
    calibration = hot_cold(name, loads, efficiency) if mode == "hot_cold" else chopper(loads)
    return antenna_temperatures(name, otf_path, loads, calibration, efficiency), calibration.metrics


def read_loads(name: str, path: Path) -> Loads:
    """Read the load table; raises BadDataError if a load is missing or not hot > sky, hot > cold > 0."""
    frame, table = read_table(path, "LOADS", ["BLOCK", "PIXEL", "PHASE", "ELEVATIO", "EXPOSURE", "COUNTS"])
    t_hot, t_cold, t_ambient = read_cards(path, "THOT", "TCOLD", "TAMB")
    blocks, pixels = int(table["BLOCK"].max()) + 1, int(table["PIXEL"].max()) + 1
    rates = table["COUNTS"] / table["EXPOSURE"][:, None].astype(float)
    seen = {}
    for phase in ("HOT", "COLD", "SKY"):
        seen[phase] = np.full((blocks, pixels, rates.shape[1]), np.nan)
        of_phase = table["PHASE"] == phase
        seen[phase][table["BLOCK"][of_phase], table["PIXEL"][of_phase]] = rates[of_phase]
    usual = (seen["HOT"] > seen["COLD"]) & (seen["HOT"] > seen["SKY"]) & (seen["COLD"] > 0)
    if not usual.all():
        block, pixel, channel = np.argwhere(~usual)[0]
        counts = ", ".join(f"{phase} {rate[block, pixel, channel]:.0f}" for phase, rate in seen.items())
        raise BadDataError(
            f"package {name!r}: the hot load is not the brightest in block {block}, pixel {pixel}, channel {channel}: "
            f"{counts} counts/s (nan: no such load)"
        )
    elevation = np.array([table["ELEVATIO"][table["BLOCK"] == block][0] for block in range(blocks)])
    return Loads(frame.restfrq, t_hot, t_cold, t_ambient, elevation, seen["HOT"], seen["COLD"], seen["SKY"])


def hot_cold(name: str, loads: Loads, efficiency: float) -> Calibration:
    """Gain and T_rec from the two loads, opacity from the sky; raises BadDataError if no opacity explains the sky."""
    hot_k, cold_k = loads.brightness_k(loads.t_hot_k), loads.brightness_k(loads.t_cold_k)
    gain = radiometry.gain_counts_per_k(loads.hot, loads.cold, hot_k, cold_k)
    t_rec = radiometry.receiver_temperature_k(loads.hot, loads.cold, hot_k, cold_k)
    t_sky = loads.sky / gain - t_rec
    atmosphere_k, ambient_k = (loads.brightness_k(t) for t in (radiometry.T_ATMOSPHERE_K, loads.t_ambient_k))
    tau = radiometry.line_of_sight_opacity(t_sky.mean(axis=(1, 2)), atmosphere_k, ambient_k, efficiency)
    if not np.isfinite(tau).all():
        raise BadDataError(f"package {name!r}: a sky of {t_sky.mean():.1f} K is brighter than any opacity explains")
    t_cal = radiometry.calibration_temperature_k(hot_k, t_sky, tau[:, None, None], efficiency)
    zenith = tau * np.sin(np.radians(loads.elevation_deg))
    metrics = {
        "t_rec_k": float(np.median(t_rec)),
        "gain_counts_per_k_s": float(np.median(gain)),
        "tau_zenith": float(zenith.mean()),
        "pwv_mm": float(radiometry.water_vapour_mm(tau, loads.elevation_deg).mean()),
    }
    return Calibration(t_cal, metrics)


def chopper(loads: Loads) -> Calibration:
    """The classic wheel: T_cal = J_hot, exact if load and atmosphere were equally warm."""
    return Calibration(np.full_like(loads.hot, loads.brightness_k(loads.t_hot_k)), {})


def antenna_temperatures(name: str, path: Path, loads: Loads, calibration: Calibration, efficiency: float) -> Spectra:
    """Each ON against the OFF of its row and pixel; raises BadDataError if one lacks its OFF or its loads."""
    frame, table = read_table(path, "OTF", ["BLOCK", "ROW", "PIXEL", "KIND", "RA", "DEC", "EXPOSURE", "COUNTS"])
    on, off = np.flatnonzero(table["KIND"] == "ON"), np.flatnonzero(table["KIND"] == "OFF")
    off = off[off_of(name, table, on, off)]
    block, pixel, exposure = table["BLOCK"][on], table["PIXEL"][on], table["EXPOSURE"].astype(float)
    if not (block.max() < loads.hot.shape[0] and pixel.max() < loads.hot.shape[1]):
        raise BadDataError(f"package {name!r}: block {block.max()} or pixel {pixel.max()} was not seen on the loads")
    rate = table["COUNTS"] / exposure[:, None]
    at = (block, pixel)
    t = radiometry.antenna_temperature_k(rate[on], rate[off], loads.hot[at], loads.sky[at], calibration.t_cal_k[at])
    t_sys = np.median(radiometry.system_temperature_k(loads.hot, loads.sky, calibration.t_cal_k), axis=2)[at]
    return Spectra(
        dataclasses.replace(frame, foreff=efficiency),
        pixel,
        table["RA"][on],
        table["DEC"][on],
        exposure[on],
        exposure[off],
        t_sys,
        np.zeros(len(on)),
        np.zeros(len(on), dtype=bool),
        t,
    )


def off_of(name: str, table: Mapping[str, NDArray[Any]], on: NDArray[np.int_], off: NDArray[np.int_]) -> Array:
    """For each ON the place of its OFF among the OFFs, by row and pixel."""
    if not len(on):
        raise BadDataError(f"package {name!r} has no spectrum of KIND ON")
    places = {key: place for place, key in enumerate(zip(table["ROW"][off], table["PIXEL"][off], strict=True))}
    try:
        return np.array([places[key] for key in zip(table["ROW"][on], table["PIXEL"][on], strict=True)])
    except KeyError as missing:
        row, pixel = missing.args[0]
        raise BadDataError(f"package {name!r}: row {row} of pixel {pixel} has no OFF spectrum") from missing


if __name__ == "__main__":
    run(reduce)
