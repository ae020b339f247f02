"""The equations of the chopper wheel; README.md gives them with their references."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

PLANCK_OVER_BOLTZMANN_K_S = 4.799243073e-11
BOLTZMANN_J_K = 1.380649e-23
LIGHT_SPEED_M_S = 299_792_458.0
T_ATMOSPHERE_K = 258.0  # mean physical temperature of the atmosphere above 5612 m
TAU_DRY, TAU_PER_MM = 0.05, 0.75  # zenith opacity near 461 GHz = TAU_DRY + TAU_PER_MM * PWV / mm


def rayleigh_jeans_k(temperature_k: float, frequency_hz: float) -> float:
    """J(T) = x / (exp(x / T) - 1), x = h nu / k: the black body's brightness on the Rayleigh-Jeans scale."""
    x = PLANCK_OVER_BOLTZMANN_K_S * frequency_hz
    return float(x / np.expm1(x / temperature_k))


def gain_counts_per_k(hot: Array, cold: Array, j_hot_k: float, j_cold_k: float) -> Array:
    """Gain gamma = (C_hot - C_cold) / (J_hot - J_cold)."""
    return (hot - cold) / (j_hot_k - j_cold_k)


def receiver_temperature_k(hot: Array, cold: Array, j_hot_k: float, j_cold_k: float) -> Array:
    """T_rec = (J_hot - Y J_cold) / (Y - 1), Y = C_hot / C_cold."""
    y = hot / cold
    return np.asarray((j_hot_k - y * j_cold_k) / (y - 1))


def line_of_sight_opacity(t_sky_k: Array, j_atm_k: float, j_amb_k: float, forward_efficiency: float) -> Array:
    """Opacity tau of T_sky = F J_atm (1 - exp(-tau)) + (1 - F) J_amb; not a number where no tau is enough."""
    emitted = (t_sky_k - (1 - forward_efficiency) * j_amb_k) / (forward_efficiency * j_atm_k)
    return -np.log1p(-np.where(emitted < 1, emitted, np.nan))


def water_vapour_mm(tau: Array, elevation_deg: Array) -> Array:
    """Precipitable water of a line-of-sight opacity, plane-parallel atmosphere."""
    return np.asarray((tau * np.sin(np.radians(elevation_deg)) - TAU_DRY) / TAU_PER_MM)


def calibration_temperature_k(j_hot_k: float, t_sky_k: Array, tau: Array, forward_efficiency: float) -> Array:
    """T_cal = (J_hot - T_sky) exp(tau) / F: what hot minus sky is worth above the atmosphere."""
    return np.asarray((j_hot_k - t_sky_k) * np.exp(tau) / forward_efficiency)


def antenna_temperature_k(on: Array, off: Array, hot: Array, sky: Array, t_cal_k: Array) -> Array:
    """T_A* = T_cal (C_on - C_off) / (C_hot - C_sky), all in counts per second."""
    return np.asarray(t_cal_k * (on - off) / (hot - sky))


def system_temperature_k(hot: Array, sky: Array, t_cal_k: Array) -> Array:
    """T_sys = T_cal C_sky / (C_hot - C_sky), on the T_A* scale."""
    return np.asarray(t_cal_k * sky / (hot - sky))


def radiometer_rms_k(t_sys_k: Array, width_hz: float, on_s: Array, off_s: Array) -> Array:
    """Expected noise of ON minus OFF: T_sys sqrt((1 / t_on + 1 / t_off) / width)."""
    return np.asarray(t_sys_k * np.sqrt((1 / on_s + 1 / off_s) / width_hz))


def jansky_per_k_arcsec2(frequency_hz: float) -> float:
    """Flux density of 1 K main-beam brightness over one square arcsecond: 2 k nu^2 / c^2 times its solid angle."""
    steradian = np.radians(1 / 3600) ** 2
    return float(2 * BOLTZMANN_J_K * frequency_hz**2 / LIGHT_SPEED_M_S**2 * steradian * 1e26)
