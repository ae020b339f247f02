"""Small plots whose bytes depend on the data alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def plot_spectra(path: Path, velocity_km_s: Array, spectra_k: Mapping[str, Array], title: str, unit: str) -> None:
    """Draw spectra over velocity, one line each."""
    figure = Figure(figsize=(6, 3.6), dpi=80, layout="tight")
    axes = figure.add_subplot()
    for label, spectrum in spectra_k.items():
        axes.plot(velocity_km_s, spectrum, drawstyle="steps-mid", linewidth=0.9, label=label)
    axes.set(title=title, xlabel="radio velocity / km/s", ylabel=unit)
    axes.legend(fontsize="x-small", ncols=2)
    _save(figure, path)


def plot_map(path: Path, image: Array, axes_arcsec: tuple[Array, Array], title: str, unit: str) -> None:
    """Draw a map over its offsets east and north, east to the left; blank pixels stay white."""
    east, north = axes_arcsec
    figure = Figure(figsize=(5.4, 4.5), dpi=80, layout="tight")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(east, north, image, cmap="viridis", shading="nearest")
    figure.colorbar(mesh, ax=axes, label=unit)
    axes.set(title=title, xlabel="offset east / arcsec", ylabel="offset north / arcsec", aspect="equal")
    axes.set_xlim(east.max(), east.min())
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})
