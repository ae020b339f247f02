"""The sky of the simulated observations: a rotating disk seen by a Gaussian beam in one line's channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

LIGHT_SPEED_KM_S = 299_792.458
REST_FREQUENCY_HZ = 461.0407682e9  # CO(4-3)
CHANNELS, CHANNEL_WIDTH_HZ = 128, 12.0e6
BEAM_ARCSEC = 26.0  # CHAI's low-frequency array


@dataclass(frozen=True)
class Disk:
    """A thin exponential disk in rotation, v(R) = v_flat (2/pi) arctan(R / R_turn): angles in arcsec and degrees."""

    ra_deg: float = 11.888
    dec_deg: float = -25.288
    systemic_km_s: float = 243.0
    inclination_deg: float = 76.0
    receding_angle_deg: float = 231.0  # position angle of the receding half, from north through east
    scale_length_arcsec: float = 25.0
    central_k_km_s: float = 900.0  # main-beam brightness
    flat_km_s: float = 205.0
    turn_arcsec: float = 6.0
    dispersion_km_s: float = 20.0

    @property
    def flux_k_km_s_arcsec2(self) -> float:
        """The line flux of the whole disk, main-beam scale."""
        face = 2 * np.pi * self.scale_length_arcsec**2 * self.central_k_km_s
        return float(face * np.cos(np.radians(self.inclination_deg)))

    def brightness_k(self, east_arcsec: Array, north_arcsec: Array, velocity_km_s: Array) -> Array:
        """Main-beam brightness temperature, unsmoothed, with velocity as the last axis."""
        angle, tilt = np.radians(self.receding_angle_deg), np.radians(self.inclination_deg)
        major = east_arcsec * np.sin(angle) + north_arcsec * np.cos(angle)
        minor = (east_arcsec * np.cos(angle) - north_arcsec * np.sin(angle)) / np.cos(tilt)
        radius = np.maximum(np.hypot(major, minor), 1e-9)
        rotation = self.flat_km_s * (2 / np.pi) * np.arctan(radius / self.turn_arcsec)
        centre = self.systemic_km_s + rotation * np.sin(tilt) * major / radius
        line = np.exp(-0.5 * ((velocity_km_s - centre[..., None]) / self.dispersion_km_s) ** 2)
        peak = self.central_k_km_s * np.exp(-radius / self.scale_length_arcsec)
        return np.asarray((peak / (np.sqrt(2 * np.pi) * self.dispersion_km_s))[..., None] * line)


@dataclass(frozen=True)
class BeamSky:
    """The disk as a Gaussian beam sees it, on a grid of offsets from its centre."""

    disk: Disk
    fwhm_arcsec: float = BEAM_ARCSEC
    step_arcsec: float = 3.0
    half_width: int = 80  # grid steps

    @cached_property
    def axis_arcsec(self) -> Array:
        """The grid's offsets along east and along north."""
        return np.arange(-self.half_width, self.half_width + 1) * self.step_arcsec

    @cached_property
    def cube_k(self) -> Array:
        """Beam-smoothed brightness by north, east and channel."""
        north, east = np.meshgrid(self.axis_arcsec, self.axis_arcsec, indexing="ij")
        sharp = self.disk.brightness_k(east, north, velocities_km_s())
        sigma = self.fwhm_arcsec / np.sqrt(8 * np.log(2))
        beam = np.exp(-0.5 * ((self.axis_arcsec[:, None] - self.axis_arcsec) / sigma) ** 2)
        beam *= self.step_arcsec / (np.sqrt(2 * np.pi) * sigma)
        return np.asarray(np.tensordot(beam, np.tensordot(beam, sharp, (1, 1)), (1, 1)))

    def at(self, east_arcsec: Array, north_arcsec: Array) -> Array:
        """Spectra [K] at offsets from the centre, zero beyond the grid."""
        x, y = (offset / self.step_arcsec + self.half_width for offset in (east_arcsec, north_arcsec))
        last = 2 * self.half_width
        inside = (x >= 0) & (x < last) & (y >= 0) & (y < last)
        i, j = (np.clip(np.floor(value).astype(int), 0, last - 1) for value in (x, y))
        u, v = (x - i)[..., None], (y - j)[..., None]
        lower = (1 - u) * self.cube_k[j, i] + u * self.cube_k[j, i + 1]
        upper = (1 - u) * self.cube_k[j + 1, i] + u * self.cube_k[j + 1, i + 1]
        return np.where(inside[..., None], (1 - v) * lower + v * upper, 0.0)


def velocities_km_s() -> Array:
    """The radio velocity of each channel."""
    return LIGHT_SPEED_KM_S * (1 - frequencies_hz() / REST_FREQUENCY_HZ)


def frequencies_hz() -> Array:
    """The frequency of each channel, falling, the middle channel at the systemic velocity."""
    middle = REST_FREQUENCY_HZ * (1 - Disk.systemic_km_s / LIGHT_SPEED_KM_S)
    return middle - CHANNEL_WIDTH_HZ * (np.arange(CHANNELS) - CHANNELS // 2)


def sky_position_deg(east_arcsec: Array, north_arcsec: Array, disk: Disk) -> tuple[Array, Array]:
    """Right ascension and declination of offsets in the plane tangent at the disk's centre."""
    x, y = np.radians(east_arcsec / 3600), np.radians(north_arcsec / 3600)
    dec0 = np.radians(disk.dec_deg)
    depth = np.cos(dec0) - y * np.sin(dec0)
    ra = disk.ra_deg + np.degrees(np.arctan2(x, depth))
    return ra, np.degrees(np.arctan2(np.sin(dec0) + y * np.cos(dec0), np.hypot(depth, x)))
