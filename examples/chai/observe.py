"""Simulated on-the-fly observations of NGC 253 with CHAI: `python observe.py FOLDER [--scans N]`.

The reductions share nothing with this file: they know the sky through the raw counts alone.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from examples.chai.chai_sky import (
    BEAM_ARCSEC,
    CHANNEL_WIDTH_HZ,
    CHANNELS,
    REST_FREQUENCY_HZ,
    Array,
    BeamSky,
    Disk,
    frequencies_hz,
    sky_position_deg,
)
from examples.chai.chai_telescope import (
    BEAM_EFFICIENCY,
    FORWARD_EFFICIENCY,
    T_AMBIENT_K,
    T_COLD_K,
    T_HOT_K,
    Receiver,
    blank_sky_k,
    drifts,
    footprint_arcsec,
    load_k,
    opacity,
)

ALTITUDE_M, LATITUDE_DEG, LONGITUDE_DEG = 5612.0, -22.9859, -67.7403

ROWS, DUMPS, STEP_ARCSEC = 24, 24, 10.0
ROWS_PER_LOAD = 6
DUMP_S, OFF_S, LOAD_S, ROW_S, LOAD_BLOCK_S = 1.0, 8.0, 5.0, 38.0, 30.0
OFF_POSITION_ARCSEC = 1200.0
FIRST_NIGHT = datetime(2026, 9, 20, 2, 30, tzinfo=UTC)
SCANS_PER_NIGHT, SCAN_SLOT = 8, timedelta(minutes=20)
MJD_ZERO, MJD_J2000 = datetime(1858, 11, 17, tzinfo=UTC), 51544.5


@dataclass(frozen=True)
class Scan:
    """One executed observation: its number, start and precipitable water vapour [mm]."""

    number: int
    start: datetime
    pwv_mm: float

    @property
    def name(self) -> str:
        """The executed observation's name."""
        return f"NGC253-CO43-{self.number:04d}"

    @property
    def end(self) -> datetime:
        """The end of the last row."""
        return self.start + timedelta(seconds=ROWS * ROW_S + ROWS // ROWS_PER_LOAD * LOAD_BLOCK_S)

    def row_mjd(self) -> Array:
        """The modified Julian date at which each row starts."""
        row = np.arange(ROWS)
        seconds = row * ROW_S + (row // ROWS_PER_LOAD + 1) * LOAD_BLOCK_S
        return np.asarray((self.start - MJD_ZERO) / timedelta(days=1) + seconds / 86400)

    def row_elevation_deg(self, disk: Disk) -> Array:
        """The source's elevation at each row, from the sidereal time at the telescope."""
        sidereal_deg = 280.46061837 + 360.98564736629 * (self.row_mjd() - MJD_J2000) + LONGITUDE_DEG
        hour_angle = np.radians(sidereal_deg - disk.ra_deg)
        latitude, dec = np.radians(LATITUDE_DEG), np.radians(disk.dec_deg)
        sine = np.sin(latitude) * np.sin(dec) + np.cos(latitude) * np.cos(dec) * np.cos(hour_angle)
        return np.asarray(np.degrees(np.arcsin(sine)))


def track_arcsec(number: int) -> Array:
    """East and north offsets by row, dump (the first is OFF) and pixel: odd scans run along right ascension."""
    along, across = (STEP_ARCSEC * (np.arange(n) - (n - 1) / 2) for n in (DUMPS, ROWS))
    line = np.stack(np.broadcast_arrays(along, across[:, None]), axis=-1)
    on = (line if number % 2 else line[..., ::-1])[:, :, None, :] + footprint_arcsec()
    off = np.broadcast_to([OFF_POSITION_ARCSEC, 0.0], on[:, :1].shape)
    return np.concatenate([off, on], axis=1)


def otf_table(scan: Scan, sky: BeamSky, receiver: Receiver, random: np.random.Generator) -> fits.BinTableHDU:
    """Every dump of every pixel, each row led by the OFF position."""
    east, north = np.moveaxis(track_arcsec(scan.number), -1, 0)
    shape = east.shape
    t_a_star = sky.at(east, north) * BEAM_EFFICIENCY / FORWARD_EFFICIENCY
    tau = opacity(scan.pwv_mm, scan.row_elevation_deg(sky.disk))[:, None, None, None]
    received = blank_sky_k(tau) + FORWARD_EFFICIENCY * np.exp(-tau) * t_a_star
    exposure = np.where(np.arange(1 + DUMPS) == 0, OFF_S, DUMP_S)
    counts = receiver.counts(received, exposure[:, None, None], drifts(random, shape), random)
    row, dump, pixel = np.indices(shape)
    mjd = scan.row_mjd()[row] + (OFF_S * (dump > 0) + DUMP_S * np.maximum(dump - 1, 0)) / 86400
    ra, dec = sky_position_deg(east, north, sky.disk)
    return table(
        "OTF",
        ("BLOCK", "I", None, row // ROWS_PER_LOAD),
        ("ROW", "I", None, row),
        ("PIXEL", "I", None, pixel),
        ("KIND", "3A", None, np.where(dump == 0, "OFF", "ON")),
        ("MJD", "D", "d", mjd),
        ("RA", "D", "deg", ra),
        ("DEC", "D", "deg", dec),
        ("EXPOSURE", "E", "s", np.broadcast_to(exposure[:, None], shape)),
        ("COUNTS", "J", "count", counts),
    )


def load_table(scan: Scan, disk: Disk, receiver: Receiver, random: np.random.Generator) -> fits.BinTableHDU:
    """Hot load, cold load and blank sky of every pixel before each block of rows."""
    elevation = scan.row_elevation_deg(disk)[::ROWS_PER_LOAD]
    sky = blank_sky_k(opacity(scan.pwv_mm, elevation))
    seen = np.stack([np.full_like(sky, load_k(T_HOT_K)), np.full_like(sky, load_k(T_COLD_K)), sky], axis=1)
    counts = receiver.counts(seen[..., None, None], np.array(LOAD_S), np.array(0.0), random)
    block, phase, pixel = np.indices(counts.shape[:3])
    return table(
        "LOADS",
        ("BLOCK", "I", None, block),
        ("PIXEL", "I", None, pixel),
        ("PHASE", "4A", None, np.array(["HOT", "COLD", "SKY"])[phase]),
        ("ELEVATIO", "D", "deg", elevation[block]),
        ("EXPOSURE", "E", "s", np.full(block.shape, LOAD_S)),
        ("COUNTS", "J", "count", counts),
    )


def table(name: str, *columns: tuple[str, str, str | None, Any]) -> fits.BinTableHDU:
    """A FITS table of columns given by name, format, unit and values; COUNTS keeps its last axis."""

    def column(key: str, form: str, unit: str | None, values: Any) -> fits.Column:
        if key == "COUNTS":
            return fits.Column(key, f"{CHANNELS}{form}", unit, array=values.reshape(-1, CHANNELS))
        return fits.Column(key, form, unit, array=values.ravel())

    return fits.BinTableHDU.from_columns([column(*each) for each in columns], name=name)


def header_cards(scan: Scan, disk: Disk) -> list[tuple[str, Any, str]]:
    """What the telescope knows about a scan."""
    return [
        ("TELESCOP", "FYST", ""),
        ("INSTRUME", "CHAI", ""),
        ("OBJECT", "NGC253", ""),
        ("LINE", "CO(4-3)", ""),
        ("SCAN", scan.number, ""),
        ("DATE-OBS", stamp(scan.start).removesuffix("Z"), "start, UTC"),
        ("DATE-END", stamp(scan.end).removesuffix("Z"), "end, UTC"),
        ("TIMESYS", "UTC", ""),
        ("RA", disk.ra_deg, "[deg] map centre, ICRS"),
        ("DEC", disk.dec_deg, "[deg] map centre, ICRS"),
        ("RESTFRQ", REST_FREQUENCY_HZ, "[Hz]"),
        ("SPECSYS", "BARYCENT", "the local oscillator tracks this frame"),
        ("FREQPIX", 1.0, "reference channel, from 1"),
        ("FREQVAL", float(frequencies_hz()[0]), "[Hz] at the reference channel"),
        ("FREQDEL", -CHANNEL_WIDTH_HZ, "[Hz] channel spacing"),
        ("BEAM", BEAM_ARCSEC / 3600, "[deg] FWHM"),
        ("THOT", T_HOT_K, "[K] hot load"),
        ("TCOLD", T_COLD_K, "[K] cold load"),
        ("TAMB", T_AMBIENT_K, "[K] ambient"),
    ]


def stamp(time: datetime) -> str:
    """ISO 8601 with Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_package(folder: Path, scan: Scan, sky: BeamSky, seed: int) -> dict[str, Any]:
    """Write one scan's raw data package and return its entry in the catalogue."""
    receiver = Receiver.draw(np.random.default_rng([seed, 0]), len(footprint_arcsec()))
    random = np.random.default_rng([seed, 1, scan.number])
    path = Path("packages") / f"{scan.name}-CHAI"
    (folder / path).mkdir(parents=True, exist_ok=True)
    loads, otf = load_table(scan, sky.disk, receiver, random), otf_table(scan, sky, receiver, random)
    for name, hdu in (("loads.fits", loads), ("otf.fits", otf)):
        primary = fits.PrimaryHDU(header=fits.Header(header_cards(scan, sky.disk)))
        fits.HDUList([primary, hdu]).writeto(folder / path / name, overwrite=True)
    elevation = round(float(scan.row_elevation_deg(sky.disk).mean()), 2)
    observed = {"frequency_ghz": REST_FREQUENCY_HZ / 1e9, "pwv_mm": scan.pwv_mm, "elevation_deg": elevation}
    return {
        "name": path.name,
        "executed_obs_unit": scan.name,
        "instrument_module": "CHAI",
        "path": path.as_posix(),
        "state": "archived",
        "created_at": stamp(scan.end + timedelta(minutes=2)),
        "metadata": {"observation": observed},
    }


def draw_scan(number: int, seed: int) -> Scan:
    """The weather and start of a scan; the source is up for eight scans a night."""
    night, slot = divmod(number - 1, SCANS_PER_NIGHT)
    water = np.random.default_rng([seed, 2, number]).normal(0.5, 0.06)
    return Scan(number, FIRST_NIGHT + timedelta(days=night) + slot * SCAN_SLOT, round(float(max(water, 0.2)), 3))


def catalogue(scans: list[Scan], packages: list[dict[str, Any]], disk: Disk) -> dict[str, Any]:
    """What the observatory's database would say of these scans."""
    unit = {"name": "NGC253-CO43-map", "source": "NGC253", "line": "CO43", "obs_mode": "OTF"}
    site = {"altitude_m": ALTITUDE_M, "latitude_deg": LATITUDE_DEG, "longitude_deg": LONGITUDE_DEG}
    module = {"name": "CHAI", "description": "Low-frequency array, 455-495 GHz"}
    chai = {"name": "CHAI", "description": "CCAT Heterodyne Array Instrument", "modules": [module]}
    source = {"kind": "fixed_source", "name": "NGC253", "ra_deg": disk.ra_deg, "dec_deg": disk.dec_deg}
    return {
        "schema_version": 1,
        "observatory": {"name": "CCAT Observatory"},
        "telescope": {"name": "FYST", **site},
        "instruments": [chai],
        "observing_programs": [{"short_name": "GEco", "name": "Galactic Ecology"}],
        "sources": [source],
        "lines": [{"id": "CO43", "name": "CO(4-3)", "rest_frequency_ghz": REST_FREQUENCY_HZ / 1e9}],
        "obs_modes": [{"name": "OTF"}],
        "obs_units": [{**unit, "observing_program": "GEco"}],
        "executed_obs_units": [
            {"name": s.name, "obs_unit": unit["name"], "start_time": stamp(s.start), "end_time": stamp(s.end)}
            for s in scans
        ],
        "packages": packages,
    }


def observe(folder: Path, *, scans: int = 6, seed: int = 253, first_scan: int = 1) -> Path:
    """Write raw data packages of some scans and their catalogue into a folder; the same seed gives the same bytes."""
    sky = BeamSky(Disk())
    drawn = [draw_scan(number, seed) for number in range(first_scan, first_scan + scans)]
    packages = [write_package(folder, scan, sky, seed) for scan in drawn]
    path = folder / "catalogue.json"
    path.write_text(json.dumps(catalogue(drawn, packages, sky.disk), indent=2) + "\n")
    return path


def main() -> None:
    """Observe into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Simulate CHAI observations of NGC 253 in CO(4-3).")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, default=6)
    parser.add_argument("--seed", type=int, default=253)
    parser.add_argument("--first-scan", type=int, default=1)
    arguments = parser.parse_args()
    print(observe(arguments.folder, scans=arguments.scans, seed=arguments.seed, first_scan=arguments.first_scan))


if __name__ == "__main__":
    main()
