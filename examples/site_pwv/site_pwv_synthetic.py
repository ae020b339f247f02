"""Made-up water vapour where no radiometer's series is at hand: a year's and a day's wave, and weather in between."""

import math
import random
from datetime import UTC, datetime
from pathlib import Path

_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_STEP_DAYS = 1 / 48
_CORRELATION = 0.98  # from one half hour to the next


def synthesise(
    folder: Path, *, radiometer: str = "DEMO", start: str = "2026-01-01", days: int = 90, seed: int = 7
) -> Path:
    """Write a series of PWV (mm) every half hour from a UTC date on; the same arguments give the same bytes.

    PWV = exp(0.2 + 0.6 cos(year) + 0.15 sin(day) + weather) mm: wet in January, and log-normal as measured series are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - weather, not secrets
    first = (datetime.fromisoformat(start).replace(tzinfo=UTC) - _MJD_EPOCH).total_seconds() / 86400
    weather, lines = 0.0, ["# made up: columns MJD (UTC), PWV (mm)"]
    for i in range(int(days / _STEP_DAYS)):
        mjd = first + (i + 0.5) * _STEP_DAYS
        weather = _CORRELATION * weather + math.sqrt(1 - _CORRELATION**2) * chance.gauss(0.0, 0.5)
        year, day = 2 * math.pi * (mjd - first + 20) / 365.25, 2 * math.pi * mjd
        pwv_mm = math.exp(0.2 + 0.6 * math.cos(year) + 0.15 * math.sin(day) + weather)
        lines.append(f"{mjd:.6f} {pwv_mm:.4f}")
    path = folder / f"{radiometer}.dat"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
