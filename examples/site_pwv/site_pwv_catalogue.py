"""Cut the radiometers' series into months: one (radiometer, month) is one raw data package."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
MJD_END = (datetime(9999, 1, 1, tzinfo=UTC) - MJD_EPOCH).days
SOURCE = "Chajnantor zenith"
OBS_MODE = "tipping"
PROGRAM = "ENG"


@dataclass
class Month:
    """The rows of one radiometer in one UTC calendar month, verbatim from the file, and their times (MJD)."""

    name: str  # YYYY-MM
    rows: list[str] = field(default_factory=list)
    mjd_utc: list[float] = field(default_factory=list)

    def start_time(self) -> datetime:
        """Return the UTC second of the earliest row."""
        return _second(min(self.mjd_utc))

    def end_time(self) -> datetime:
        """Return the end of the UTC second of the latest row, which is later than the start even for one row."""
        return _second(max(self.mjd_utc)) + timedelta(seconds=1)

    def created_at(self) -> datetime:
        """Return the first instant after the month (UTC): a month is packed when it is over."""
        year, month = map(int, self.name.split("-"))
        return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


@dataclass
class Radiometer:
    """One file of the source: its stem, its comment lines and its months in order."""

    name: str
    comments: list[str]
    months: list[Month]

    def description(self) -> str:
        """Return the site that the file's comments name."""
        for comment in self.comments:
            key, _, value = comment.strip("# \t").partition(":")
            if key.strip() == "site" and value.strip():
                return f"Tipping radiometer, {value.strip()}"
        return "Tipping radiometer"


def catalogue(source: Path, folder: Path, *, months: int | None = None, until: str | None = None) -> Path:
    """Write packages/<radiometer>-<YYYY-MM>/pwv.dat and catalogue.json into folder and return the catalogue's path.

    source holds one `*.dat` a radiometer: MJD (UTC) and PWV (mm), `#` starts a comment. Kept are the first `months`
    months of each radiometer and the months up to and including `until` (YYYY-MM). Raises ValueError for a folder
    without series, a malformed line, and a package that was written before with other rows.
    """
    if months is not None and months < 1:
        raise ValueError(f"months = {months}: valid is a whole number from 1")
    if until is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", until):
        raise ValueError(f"until = {until!r}: valid is a month as YYYY-MM")
    files = sorted(source.glob("*.dat"))
    if not files:
        raise ValueError(f"{source} holds no *.dat file")
    radiometers = [read_radiometer(path) for path in files]
    for radiometer in radiometers:
        kept = [month for month in radiometer.months if until is None or month.name <= until]
        radiometer.months = kept[:months]
        for month in radiometer.months:
            text = "".join(f"{line}\n" for line in (*radiometer.comments, *month.rows))
            _write_once(folder / "packages" / f"{radiometer.name}-{month.name}" / "pwv.dat", _bytes(text))
    path = folder / "catalogue.json"
    _write(path, _bytes(json.dumps(document(radiometers), indent=1) + "\n"))
    return path


def read_radiometer(path: Path) -> Radiometer:
    """Read one series, cut by UTC calendar month, else raise ValueError with file, line number and text."""
    comments: list[str] = []
    months: dict[date, Month] = {}
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.lstrip().startswith("#"):
            comments.append(line)
        elif line.strip():
            mjd_utc = _mjd_utc(line, f"{path}, line {number}")
            # a month starts at a whole MJD, so the whole days alone decide; no rounding can move a row
            first = (MJD_EPOCH + timedelta(days=math.floor(mjd_utc))).date().replace(day=1)
            month = months.setdefault(first, Month(f"{first:%Y-%m}"))
            month.rows.append(line)
            month.mjd_utc.append(mjd_utc)
    if not months:
        raise ValueError(f"{path} holds no rows")
    return Radiometer(path.stem, comments, [months[first] for first in sorted(months)])


def document(radiometers: Sequence[Radiometer]) -> dict[str, Any]:
    """Return the catalogue: observatory, instrument, observation units and one package a month."""
    months = [(radiometer, month) for radiometer in radiometers for month in radiometer.months]
    return {
        "schema_version": 1,
        "observatory": {"name": "CCAT Observatory"},
        "telescope": {"name": "FYST", "altitude_m": 5612.0, "latitude_deg": -22.9859, "longitude_deg": -67.7403},
        "instruments": [
            {
                "name": "Site radiometers",
                "description": "Submillimetre tipping radiometers on the Chajnantor plateau",
                "modules": [{"name": one.name, "description": one.description()} for one in radiometers],
            }
        ],
        "observing_programs": [{"short_name": PROGRAM, "name": "Engineering"}],
        "sources": [
            {
                "kind": "constant_elevation_source",
                "name": SOURCE,
                "elevation_deg": 90.0,
                "azimuth_min_deg": 0.0,
                "azimuth_max_deg": 360.0,
            }
        ],
        "lines": [],
        "obs_modes": [{"name": OBS_MODE}],
        "obs_units": [_obs_unit(one) for one in radiometers],
        "executed_obs_units": [_executed_obs_unit(*one) for one in months],
        "packages": [_package(*one) for one in months],
    }


def _obs_unit(radiometer: Radiometer) -> dict[str, Any]:
    return {
        "name": f"site-pwv-{radiometer.name}",
        "source": SOURCE,
        "line": None,
        "obs_mode": OBS_MODE,
        "observing_program": PROGRAM,
    }


def _executed_obs_unit(radiometer: Radiometer, month: Month) -> dict[str, Any]:
    return {
        "name": f"{radiometer.name}-{month.name}",
        "obs_unit": f"site-pwv-{radiometer.name}",
        "start_time": _iso(month.start_time()),
        "end_time": _iso(month.end_time()),
    }


def _package(radiometer: Radiometer, month: Month) -> dict[str, Any]:
    name = f"{radiometer.name}-{month.name}"
    return {
        "name": name,
        "executed_obs_unit": name,
        "instrument_module": radiometer.name,
        "path": f"packages/{name}",
        "state": "archived",
        "created_at": _iso(month.created_at()),
        "metadata": {"month": month.name, "rows": len(month.rows), "radiometer": radiometer.name},
    }


def _mjd_utc(line: str, place: str) -> float:
    try:
        mjd_utc, pwv_mm = map(float, line.split())
    except ValueError:
        raise ValueError(f"{place}: not MJD and PWV: {line!r}") from None
    if not (math.isfinite(mjd_utc) and math.isfinite(pwv_mm)):
        raise ValueError(f"{place}: a value is not finite: {line!r}")
    if not 0 <= mjd_utc < MJD_END:
        raise ValueError(f"{place}: MJD is not within 0 to {MJD_END}: {line!r}")
    return mjd_utc


def _second(mjd_utc: float) -> datetime:
    return (MJD_EPOCH + timedelta(days=mjd_utc)).replace(microsecond=0)


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


def _write_once(path: Path, content: bytes) -> None:
    if not path.exists():
        _write(path, content)
    elif path.read_bytes() != content:
        raise ValueError(f"{path} was written before with other rows: an archived package does not change")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
