"""Calibrated spectra between the steps: a FITS table and the frame it is measured in."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from chai_contract import BadDataError
from chai_radiometry import LIGHT_SPEED_M_S
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Frame:
    """What all spectra of a file share; fields are FITS cards of the same meaning in capitals."""

    object: str
    line: str
    date_obs: str
    date_end: str
    ra: float  # deg, map centre
    dec: float  # deg
    beam: float  # deg, FWHM
    restfrq: float  # Hz
    specsys: str
    freqpix: float  # reference channel, from 1
    freqval: float  # Hz
    freqdel: float  # Hz
    foreff: float = 1.0  # forward efficiency the spectra were calibrated with

    @classmethod
    def from_header(cls, header: fits.Header) -> Frame:
        """Read the cards; raises KeyError for a missing one."""
        keys = {field.name: _card(field.name) for field in dataclasses.fields(cls)}
        return cls(**{name: header[key] for name, key in keys.items() if name != "foreff" or key in header})

    def cards(self) -> list[tuple[str, Any]]:
        """The frame as FITS cards."""
        return [(_card(name), value) for name, value in dataclasses.asdict(self).items()]

    def velocity_km_s(self, channels: int) -> Array:
        """The radio velocity of each channel."""
        frequency = self.freqval + self.freqdel * (np.arange(channels) + 1 - self.freqpix)
        return LIGHT_SPEED_M_S / 1e3 * (1 - frequency / self.restfrq)

    def same_axes(self, other: Frame) -> bool:
        """Whether two frames agree in all but their dates."""
        return dataclasses.replace(self, date_obs=other.date_obs, date_end=other.date_end) == other


@dataclass(frozen=True)
class Spectra:
    """Spectra on the T_A* scale, one row each."""

    frame: Frame
    pixel: NDArray[np.int16]
    ra: Array  # deg
    dec: Array  # deg
    on_s: Array
    off_s: Array
    t_sys: Array  # K, median over the channels
    rms: Array  # K off the line, zero before baselines are fitted
    flag: NDArray[np.bool_]
    t: Array  # K, by spectrum and channel

    @property
    def velocity_km_s(self) -> Array:
        """The radio velocity of each channel."""
        return self.frame.velocity_km_s(self.t.shape[1])


_COLUMNS = {
    "pixel": ("PIXEL", "I", None),
    "ra": ("RA", "D", "deg"),
    "dec": ("DEC", "D", "deg"),
    "on_s": ("EXP_ON", "E", "s"),
    "off_s": ("EXP_OFF", "E", "s"),
    "t_sys": ("TSYS", "E", "K"),
    "rms": ("RMS", "E", "K"),
    "flag": ("FLAG", "L", None),
    "t": ("TASTAR", "E", "K"),
}


def concatenate(parts: Sequence[Spectra]) -> Spectra:
    """Spectra of several files as one; raises BadDataError if their axes differ."""
    frames = [part.frame for part in parts]
    for frame in frames:
        if not frame.same_axes(frames[0]):
            raise BadDataError(f"spectra of different axes cannot be joined: {frame} and {frames[0]}")
    dates = {"date_obs": min(f.date_obs for f in frames), "date_end": max(f.date_end for f in frames)}
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Spectra(dataclasses.replace(frames[0], **dates), **columns)


def read_table(path: Path, extension: str, columns: Sequence[str]) -> tuple[Frame, dict[str, NDArray[Any]]]:
    """The frame and some columns of a FITS table; raises BadDataError if anything is missing or cut off."""
    try:
        with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
            warnings.simplefilter("error", AstropyWarning)
            table = hdus[extension]
            header = hdus[0].header + table.header
            data = {name: np.asarray(table.data[name]) for name in columns}
            return Frame.from_header(header), {k: v.astype(v.dtype.newbyteorder("=")) for k, v in data.items()}
    except (OSError, KeyError, ValueError, TypeError, IndexError, AstropyWarning) as error:
        raise BadDataError(f"{path}: cannot read table {extension} ({', '.join(columns)}): {error}") from error


def read_cards(path: Path, *names: str) -> list[float]:
    """Numbers from the primary header of a file; raises BadDataError for a missing one."""
    try:
        header = fits.getheader(path)
        return [float(header[name]) for name in names]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadDataError(f"{path}: cannot read the cards {', '.join(names)}: {error}") from error


def read_spectra(path: Path) -> Spectra:
    """Read what write_spectra wrote."""
    frame, data = read_table(path, "SPECTRA", [key for key, _, _ in _COLUMNS.values()])
    return Spectra(frame, **{name: data[key] for name, (key, _, _) in _COLUMNS.items()})


def write_spectra(path: Path, spectra: Spectra) -> None:
    """Write a table whose bytes depend on the spectra alone."""
    channels = spectra.t.shape[1]
    columns = [
        fits.Column(key, f"{channels}{form}" if name == "t" else form, unit, array=getattr(spectra, name))
        for name, (key, form, unit) in _COLUMNS.items()
    ]
    primary = fits.PrimaryHDU(header=fits.Header([("TELESCOP", "FYST"), ("INSTRUME", "CHAI"), *spectra.frame.cards()]))
    fits.HDUList([primary, fits.BinTableHDU.from_columns(columns, name="SPECTRA")]).writeto(path, overwrite=True)


def _card(field: str) -> str:
    return field.replace("_", "-").upper()
