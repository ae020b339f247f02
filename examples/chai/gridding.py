"""Baselined spectra of all scans to one cube and its moments: Gaussian convolution, weighted by noise."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from chai_contract import BadDataError, Parameters, Task, run
from chai_plots import plot_map
from chai_radiometry import LIGHT_SPEED_M_S, jansky_per_k_arcsec2
from chai_spectra import Frame, Spectra, concatenate, read_spectra
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

KERNEL_REACH_SIGMA = 3.0
LEAST_WEIGHT = 0.1  # of the median; thinner pixels are blank
LINE_SIGNIFICANCE = 5.0  # pixels fainter than this many sigma have no velocity
CHANNEL_SIGNIFICANCE = 3.0  # and channels below this one do not count for it
MOST_PIXELS = 400

_LENGTHS = ("pixel_arcsec", "kernel_fwhm_arcsec", "source_radius_arcsec")
_PARAMETERS = ("line_window_km_s", "weighting", *_LENGTHS, "beam_efficiency")


@dataclass(frozen=True)
class Settings:
    """The step's parameters: lengths in arcsec, velocities in km/s."""

    window_km_s: tuple[float, float]
    weighting: str
    pixel_arcsec: float
    kernel_fwhm_arcsec: float
    source_radius_arcsec: float
    beam_efficiency: float

    @classmethod
    def read(cls, parameters: Parameters) -> Settings:
        """Read and check the parameters; raises BadConfigurationError."""
        parameters.only(*_PARAMETERS)
        pixel = parameters.number("pixel_arcsec", 8.0, 1.0, 60.0)
        return cls(
            parameters.window("line_window_km_s", (-15.0, 500.0)),
            parameters.choice("weighting", "tsys", ("tsys", "rms")),
            pixel,
            parameters.number("kernel_fwhm_arcsec", 10.0, pixel, 5 * pixel),
            parameters.number("source_radius_arcsec", 130.0, pixel, 3600.0),
            parameters.number("beam_efficiency", 0.75, 0.1, 1.0),
        )


@dataclass(frozen=True)
class Grid:
    """A square grid in the plane tangent at the map centre; the middle pixel is the centre."""

    frame: Frame
    pixel_arcsec: float
    half_width: int
    kernel_fwhm_arcsec: float

    @property
    def width(self) -> int:
        """Pixels along one side."""
        return 2 * self.half_width + 1

    @property
    def beam_deg(self) -> float:
        """FWHM of telescope beam and kernel together."""
        return float(np.hypot(self.frame.beam, self.kernel_fwhm_arcsec / 3600))

    @property
    def axes_arcsec(self) -> tuple[Array, Array]:
        """Offsets east (falling) and north (rising) of the pixels."""
        axis = np.arange(-self.half_width, self.half_width + 1) * self.pixel_arcsec
        return -axis, axis


@dataclass(frozen=True)
class Cube:
    """Main-beam brightness [K] by channel, north and east."""

    grid: Grid
    t_mb: Array
    velocity_km_s: Array
    window_km_s: tuple[float, float]
    source_radius_arcsec: float

    @property
    def in_window(self) -> NDArray[np.bool_]:
        """Channels of the line."""
        return (self.velocity_km_s >= self.window_km_s[0]) & (self.velocity_km_s <= self.window_km_s[1])

    @property
    def channel_km_s(self) -> float:
        """Channel width."""
        return abs(float(self.velocity_km_s[1] - self.velocity_km_s[0]))

    def rms_k(self) -> Array:
        """Noise of each pixel off the line."""
        return np.asarray(self.t_mb[~self.in_window].std(axis=0))

    def moment0(self) -> Array:
        """Integrated line, K km/s."""
        return np.asarray(self.t_mb[self.in_window].sum(axis=0) * self.channel_km_s)

    def moment1(self) -> Array:
        """Mean radio velocity weighted by brightness, km/s; blank where the line is not significant."""
        rms, line = self.rms_k(), self.t_mb[self.in_window]
        clipped = np.where(line > CHANNEL_SIGNIFICANCE * rms, line, 0.0)
        total = clipped.sum(axis=0)
        noise = rms * self.channel_km_s * np.sqrt(self.in_window.sum())
        seen = (self.moment0() > LINE_SIGNIFICANCE * noise) & (total > 0)
        mean = (clipped * self.velocity_km_s[self.in_window, None, None]).sum(axis=0) / np.where(seen, total, 1.0)
        return np.where(seen, mean, np.nan)


def reduce(task: Task) -> None:
    """Grid the spectra of every scan into one cube."""
    settings = Settings.read(task.parameters)
    scans = [(sub_group, read_spectra(path)) for sub_group, path in task.upstream_files("baselined.fits")]
    if not scans:
        raise BadDataError("the manifest has no upstream product baselined.fits")
    spectra = concatenate([scan for _, scan in scans])
    cube = make_cube(spectra, settings)
    write_images(task, cube)
    write_scan_table(task.product("statistics/scans.csv"), scans, settings.weighting)
    task.write_quality("map", {**metrics(cube), "n_spectra": int((~spectra.flag).sum()), "n_scans": len(scans)})


def weights(spectra: Spectra, weighting: str) -> Array:
    """The weight [1/K^2] of each spectrum: t_on / T_sys^2 or 1 / rms^2, none if flagged."""
    scale = spectra.on_s / spectra.t_sys**2 if weighting == "tsys" else 1 / np.maximum(spectra.rms, 1e-9) ** 2
    return np.where(spectra.flag, 0.0, scale).astype(float)


def tangent_offsets_arcsec(frame: Frame, ra: Array, dec: Array) -> tuple[Array, Array]:
    """East and north of the map centre in the tangent plane (gnomonic, FITS TAN)."""
    d_ra, dec, dec0 = np.radians(ra - frame.ra), np.radians(dec), np.radians(frame.dec)
    depth = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
    east = np.cos(dec) * np.sin(d_ra) / depth
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra)) / depth
    return np.degrees(east) * 3600, np.degrees(north) * 3600


def make_cube(spectra: Spectra, settings: Settings) -> Cube:
    """Convolve the spectra onto a grid that holds them all; raises BadDataError if they are strewn too far."""
    weight, pixel = weights(spectra, settings.weighting), settings.pixel_arcsec
    if not weight.any():
        raise BadDataError(f"all {len(weight)} spectra are flagged")
    east, north = tangent_offsets_arcsec(spectra.frame, spectra.ra, spectra.dec)
    half_width = int(np.ceil(max(np.abs(east).max(), np.abs(north).max()) / pixel)) + 1
    if 2 * half_width + 1 > MOST_PIXELS:
        raise BadDataError(f"spectra lie up to {half_width * pixel:.0f} arcsec off {spectra.frame.object}")
    grid = Grid(spectra.frame, pixel, half_width, settings.kernel_fwhm_arcsec)
    total, weight_map = convolve(grid, -east / pixel + half_width, north / pixel + half_width, weight, spectra.t)
    blank = weight_map < LEAST_WEIGHT * np.median(weight_map[weight_map > 0])
    mean = total / np.where(blank, np.nan, weight_map)[:, None]
    t_mb = mean.T.reshape(-1, grid.width, grid.width) * spectra.frame.foreff / settings.beam_efficiency
    return Cube(grid, t_mb, spectra.velocity_km_s, settings.window_km_s, settings.source_radius_arcsec)


def convolve(grid: Grid, x: Array, y: Array, weight: Array, t: Array) -> tuple[Array, Array]:
    """Weighted sums of spectra and of weights by pixel: only the pixels within reach of a spectrum are touched."""
    sigma = grid.kernel_fwhm_arcsec / np.sqrt(8 * np.log(2)) / grid.pixel_arcsec
    reach = int(np.ceil(KERNEL_REACH_SIGMA * sigma))
    total, weight_map = np.zeros((grid.width**2, t.shape[1])), np.zeros(grid.width**2)
    for step_x, step_y in np.ndindex(2 * reach + 1, 2 * reach + 1):
        i, j = np.rint(x).astype(int) + step_x - reach, np.rint(y).astype(int) + step_y - reach
        distance2 = ((x - i) ** 2 + (y - j) ** 2) / sigma**2
        inside = (i >= 0) & (i < grid.width) & (j >= 0) & (j < grid.width) & (weight > 0)
        near = np.flatnonzero(inside & (distance2 <= KERNEL_REACH_SIGMA**2))
        if len(near):
            share = weight[near] * np.exp(-0.5 * distance2[near])
            _add(total, weight_map, (j * grid.width + i)[near], share, t[near])
    return total, weight_map


def _add(total: Array, weight_map: Array, cell: NDArray[np.int_], share: Array, t: Array) -> None:
    """Add spectra to their cells in a fixed order, so that the bytes do not depend on the number of threads."""
    order = np.argsort(cell, kind="stable")
    cells, starts = np.unique(cell[order], return_index=True)
    total[cells] += np.add.reduceat(t[order] * share[order, None], starts, axis=0)
    weight_map[cells] += np.add.reduceat(share[order], starts)


def metrics(cube: Cube) -> dict[str, float]:
    """Quality of the map: noise, the line's flux within the source's radius and its brightest pixel."""
    moment0 = cube.moment0()
    east, north = cube.grid.axes_arcsec
    on_source = np.hypot(east, north[:, None]) <= cube.source_radius_arcsec
    flux = float(np.nansum(moment0[on_source])) * cube.grid.pixel_arcsec**2
    jansky = jansky_per_k_arcsec2(cube.grid.frame.restfrq)
    return {
        "rms_k": float(np.nanmedian(cube.rms_k())),
        "line_flux_k_km_s_arcsec2": flux,
        "line_flux_jy_km_s": flux * jansky,
        "peak_k_km_s": float(np.nanmax(moment0)),
        "beam_arcsec": cube.grid.beam_deg * 3600,
    }


def write_images(task: Task, cube: Cube) -> None:
    """Write cube and moments as FITS, the moments as plots too."""
    name = f"{cube.grid.frame.object} {cube.grid.frame.line}"
    moments = {"moment0": (cube.moment0(), "K km s-1"), "moment1": (cube.moment1(), "km s-1")}
    images = {"cube": (cube.t_mb, "K"), **moments}
    for stem, (image, unit) in images.items():
        header = fits.Header(celestial_cards(cube.grid, unit))
        if image.ndim > len(cube.grid.axes_arcsec):
            header.update(spectral_cards(cube.grid.frame))
        hdu = fits.PrimaryHDU(image.astype(np.float32), header)
        hdu.writeto(task.product(f"science/{stem}.fits"), overwrite=True)
    for stem, (image, unit) in moments.items():
        plot_map(task.product(f"plots/{stem}.png"), image, cube.grid.axes_arcsec, f"{name} {stem}", unit)


def celestial_cards(grid: Grid, unit: str) -> list[tuple[str, Any]]:
    """The celestial axes; dates are those of the data."""
    frame, step = grid.frame, grid.pixel_arcsec / 3600
    cards = [("CTYPE1", "RA---TAN"), ("CRPIX1", grid.half_width + 1.0), ("CRVAL1", frame.ra), ("CDELT1", -step)]
    cards += [("CTYPE2", "DEC--TAN"), ("CRPIX2", grid.half_width + 1.0), ("CRVAL2", frame.dec), ("CDELT2", step)]
    cards += [("CUNIT1", "deg"), ("CUNIT2", "deg"), ("RADESYS", "ICRS"), ("BUNIT", unit)]
    cards += [("BMAJ", grid.beam_deg), ("BMIN", grid.beam_deg), ("BPA", 0.0)]
    cards += [("TELESCOP", "FYST"), ("INSTRUME", "CHAI"), ("OBJECT", frame.object), ("LINE", frame.line)]
    cards += [("TIMESYS", "UTC"), ("DATE-OBS", frame.date_obs), ("MJD-OBS", _mjd(frame.date_obs))]
    cards += [("DATE-END", frame.date_end), ("MJD-END", _mjd(frame.date_end)), ("RESTFRQ", frame.restfrq)]
    return cards


def spectral_cards(frame: Frame) -> list[tuple[str, Any]]:
    """The radio velocity axis, linear because the channels are equally wide in frequency."""
    reference = LIGHT_SPEED_M_S * (1 - frame.freqval / frame.restfrq)
    step = -LIGHT_SPEED_M_S * frame.freqdel / frame.restfrq
    axis = [("CTYPE3", "VRAD"), ("CUNIT3", "m/s"), ("CRPIX3", frame.freqpix), ("CRVAL3", reference), ("CDELT3", step)]
    return [*axis, ("SPECSYS", frame.specsys)]


def write_scan_table(path: Path, scans: Sequence[tuple[str, Spectra]], weighting: str) -> None:
    """One line for each scan: how much of the map it is, and how noisy."""
    sums = [float(weights(scan, weighting).sum()) for _, scan in scans]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sub_group", "n_spectra", "n_flagged", "t_sys_k", "rms_k", "weight_fraction"])
        for (sub_group, scan), share in zip(scans, sums, strict=True):
            noise = [f"{np.median(values[~scan.flag]):.4f}" for values in (scan.t_sys, scan.rms)]
            writer.writerow([sub_group, len(scan.flag), int(scan.flag.sum()), *noise, f"{share / sum(sums):.4f}"])


def _mjd(date: str) -> float:
    elapsed = datetime.fromisoformat(date).replace(tzinfo=UTC) - datetime(1858, 11, 17, tzinfo=UTC)
    return elapsed.total_seconds() / 86400


if __name__ == "__main__":
    run(reduce)
