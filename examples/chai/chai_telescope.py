"""The telescope of the simulated observations: atmosphere, receiver and the drift of its gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.chai.chai_sky import CHANNEL_WIDTH_HZ, CHANNELS, REST_FREQUENCY_HZ, Array

PLANCK_OVER_BOLTZMANN_K_S = 4.799243073e-11
PIXEL_SPACING_ARCSEC = 52.0
FORWARD_EFFICIENCY, BEAM_EFFICIENCY = 0.95, 0.75
T_HOT_K, T_COLD_K, T_AMBIENT_K, T_ATMOSPHERE_K = 293.0, 80.0, 268.0, 258.0
BAD_SPECTRA = 16  # of each scan, spoilt by a standing wave


@dataclass(frozen=True)
class Receiver:
    """Gain [counts / (K s)] and receiver temperature [K] of each pixel and channel."""

    gain: Array
    t_rec_k: Array

    @classmethod
    def draw(cls, random: np.random.Generator, pixels: int) -> Receiver:
        """A receiver whose pixels differ by some ten per cent and whose bandpass is rounded."""
        x = np.linspace(-1, 1, CHANNELS)
        level, slope, noise = random.normal(size=(3, pixels, 1))
        gain = 2000 * (1 + 0.08 * level) * (1 - 0.15 * x**2 + 0.05 * slope * x)
        return cls(gain, 90 + 6 * noise + 8 * x**2)

    def counts(self, sky_k: Array, exposure_s: Array, drift: Array, random: np.random.Generator) -> NDArray[np.int32]:
        """Counts of pixels looking at sky_k (last axes: pixel, channel), with radiometer noise."""
        total = self.t_rec_k + sky_k
        total = total * (1 + random.standard_normal(total.shape) / np.sqrt(CHANNEL_WIDTH_HZ * exposure_s))
        return np.rint(self.gain * exposure_s * (1 + drift) * total).astype(np.int32)


def load_k(temperature_k: float) -> float:
    """The Rayleigh-Jeans temperature of a black body in the line, J = x / (exp(x / T) - 1) with x = h nu / k."""
    x = PLANCK_OVER_BOLTZMANN_K_S * REST_FREQUENCY_HZ
    return float(x / np.expm1(x / temperature_k))


def opacity(pwv_mm: float, elevation_deg: Array) -> Array:
    """Opacity on the line of sight: (0.05 + 0.75 PWV / mm) / sin(elevation), a fit good near 461 GHz alone."""
    return (0.05 + 0.75 * pwv_mm) / np.sin(np.radians(elevation_deg))


def blank_sky_k(tau: Array) -> Array:
    """What a pixel receives from blank sky: atmosphere forward, ambient spillover behind."""
    sky = FORWARD_EFFICIENCY * load_k(T_ATMOSPHERE_K) * (1 - np.exp(-tau))
    return np.asarray(sky + (1 - FORWARD_EFFICIENCY) * load_k(T_AMBIENT_K))


def footprint_arcsec() -> Array:
    """East and north offsets of the seven pixels: one in the middle of a hexagon turned by 19.1 degrees."""
    angle = np.radians(19.1 + 60 * np.arange(6))
    ring = PIXEL_SPACING_ARCSEC * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([np.zeros((1, 2)), ring])


def drifts(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Gain drift by row, dump (the first is OFF), pixel and channel: slow slopes and a few standing waves."""
    rows, dumps, pixels = shape
    x = np.linspace(-1, 1, CHANNELS)
    level, slope, bend = random.normal(size=(3, rows, 1, pixels, 1))
    age = np.linspace(0, 1, dumps)[:, None, None]
    drift = age * (3e-4 * level + 3e-4 * slope * x + 1e-5 * bend * (3 * x**2 - 1))
    spoilt = random.choice(rows * (dumps - 1) * pixels, BAD_SPECTRA, replace=False)
    row, dump, pixel = np.unravel_index(spoilt, (rows, dumps - 1, pixels))
    drift[row, dump + 1, pixel] += 0.01 * np.sin(20 * x + random.uniform(0, 6, (BAD_SPECTRA, 1)))
    return np.asarray(drift)
