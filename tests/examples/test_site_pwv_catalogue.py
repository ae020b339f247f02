import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.site_pwv.site_pwv_catalogue import catalogue

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "site-pwv"
HEADER = "# File X PWV data\n#\n#   site: NRAO location, Chajnantor Plateau\n"
# 53064 is 2004-02-29, 53429 is 2005-02-28
ROWS = [
    ("2004-02", "53064.999999999993 1.250000000000"),
    ("2004-03", "53065.000000000000 1.5"),
    ("2005-02", "  53429.999999000 0.75"),
    ("2005-03", "53430.000000000000 2.000"),
    ("2004-02", "53064.000000000000 1.0"),
]


def write(source: Path, name: str, rows: list[str]) -> None:
    source.mkdir(exist_ok=True)
    (source / f"{name}.dat").write_text(HEADER + "\n" + "".join(f"{row}\n" for row in rows))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def packages(path: Path) -> dict[str, Any]:
    return {package["name"]: package for package in json.loads(path.read_text())["packages"]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write(tmp_path / "source", "RA", [row for _, row in ROWS])
    write(tmp_path / "source", "RB", ["53065.25 3.5"])
    return tmp_path / "source"


def test_rows_are_verbatim_in_their_month_at_leap_days_boundaries_and_gaps(source: Path, tmp_path: Path) -> None:
    catalogue(source, tmp_path / "out")
    written = files(tmp_path / "out")
    del written["catalogue.json"]
    expected = {"packages/RB-2004-03/pwv.dat": f"{HEADER}53065.25 3.5\n".encode()}
    for month in ("2004-02", "2004-03", "2005-02", "2005-03"):
        rows = "".join(f"{row}\n" for name, row in ROWS if name == month)
        expected[f"packages/RA-{month}/pwv.dat"] = (HEADER + rows).encode()
    assert written == expected


def test_catalogue_of_one_radiometer_whole(tmp_path: Path) -> None:
    write(tmp_path / "source", "RB", ["53065.25 3.5", "53065.125001 3.0"])
    path = catalogue(tmp_path / "source", tmp_path / "out")
    assert path == tmp_path / "out" / "catalogue.json"
    module = {"name": "RB", "description": "Tipping radiometer, NRAO location, Chajnantor Plateau"}
    zenith = {"elevation_deg": 90.0, "azimuth_min_deg": 0.0, "azimuth_max_deg": 360.0}
    instrument = {
        "name": "Site radiometers",
        "description": "Submillimetre tipping radiometers on the Chajnantor plateau",
        "modules": [module],
    }
    assert json.loads(path.read_text()) == {
        "schema_version": 1,
        "observatory": {"name": "CCAT Observatory"},
        "telescope": {"name": "FYST", "altitude_m": 5612.0, "latitude_deg": -22.9859, "longitude_deg": -67.7403},
        "instruments": [instrument],
        "observing_programs": [{"short_name": "ENG", "name": "Engineering"}],
        "sources": [{"kind": "constant_elevation_source", "name": "Chajnantor zenith", **zenith}],
        "lines": [],
        "obs_modes": [{"name": "tipping"}],
        "obs_units": [
            {
                "name": "site-pwv-RB",
                "source": "Chajnantor zenith",
                "line": None,
                "obs_mode": "tipping",
                "observing_program": "ENG",
            }
        ],
        "executed_obs_units": [
            {
                "name": "RB-2004-03",
                "obs_unit": "site-pwv-RB",
                "start_time": "2004-03-01T03:00:00Z",
                "end_time": "2004-03-01T06:00:01Z",
            }
        ],
        "packages": [
            {
                "name": "RB-2004-03",
                "executed_obs_unit": "RB-2004-03",
                "instrument_module": "RB",
                "path": "packages/RB-2004-03",
                "state": "archived",
                "created_at": "2004-04-01T00:00:00Z",
                "metadata": {"month": "2004-03", "rows": 2, "radiometer": "RB"},
            }
        ],
    }


def test_december_is_packed_in_the_next_year(tmp_path: Path) -> None:
    write(tmp_path / "source", "RA", ["53370.5 1.0"])
    package = packages(catalogue(tmp_path / "source", tmp_path / "out"))["RA-2004-12"]
    assert package["created_at"] == "2005-01-01T00:00:00Z"
    assert package["metadata"]["rows"] == 1


def test_same_series_same_bytes_and_nothing_is_touched_again(source: Path, tmp_path: Path) -> None:
    catalogue(source, tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one" / "packages").rglob("*")}
    first = files(tmp_path / "one")
    catalogue(source, tmp_path / "one")
    catalogue(source, tmp_path / "two")
    assert files(tmp_path / "one") == first == files(tmp_path / "two")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_later_call_with_more_months_only_adds(source: Path, tmp_path: Path) -> None:
    early = packages(catalogue(source, tmp_path / "out", until="2004-03"))
    early_files = files(tmp_path / "out" / "packages")
    assert list(early) == ["RA-2004-02", "RA-2004-03", "RB-2004-03"]
    assert len(early_files) == 3
    late = packages(catalogue(source, tmp_path / "out"))
    assert list(late) == ["RA-2004-02", "RA-2004-03", "RA-2005-02", "RA-2005-03", "RB-2004-03"]
    assert early == {name: late[name] for name in early}
    late_files = files(tmp_path / "out" / "packages")
    assert early_files == {name: late_files[name] for name in early_files}


def test_months_and_until_cut_each_radiometer(source: Path, tmp_path: Path) -> None:
    assert list(packages(catalogue(source, tmp_path / "a", months=1))) == ["RA-2004-02", "RB-2004-03"]
    assert list(packages(catalogue(source, tmp_path / "b", months=3, until="2004-02"))) == ["RA-2004-02"]
    assert packages(catalogue(source, tmp_path / "c", until="2003-12")) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("53065.5", "RA.dat, line 6: not MJD and PWV: '53065.5'"),
        ("53065.5 1.0 2.0", "RA.dat, line 6: not MJD and PWV: '53065.5 1.0 2.0'"),
        ("53065.5 dry", "RA.dat, line 6: not MJD and PWV: '53065.5 dry'"),
        ("53065.5 nan", "RA.dat, line 6: a value is not finite: '53065.5 nan'"),
        ("inf 1.0", "RA.dat, line 6: a value is not finite: 'inf 1.0'"),
        ("-1.0 1.0", "RA.dat, line 6: MJD is not within 0 to "),
        ("5306500000.0 1.0", "RA.dat, line 6: MJD is not within 0 to "),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "source", "RA", ["53065.0 1.0", line, "53066.0 1.0"])
    with pytest.raises(ValueError) as refused:
        catalogue(tmp_path / "source", tmp_path / "out")
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_or_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(ValueError, match=r"source holds no \*\.dat file"):
        catalogue(tmp_path / "source", tmp_path / "out")
    write(tmp_path / "source", "RA", [])
    with pytest.raises(ValueError, match=r"RA\.dat holds no rows"):
        catalogue(tmp_path / "source", tmp_path / "out")


def test_wrong_choices_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="months = 0: valid is a whole number from 1"):
        catalogue(source, tmp_path / "out", months=0)
    with pytest.raises(ValueError, match="until = '2004-13': valid is a month as YYYY-MM"):
        catalogue(source, tmp_path / "out", until="2004-13")


def test_an_archived_package_does_not_change(source: Path, tmp_path: Path) -> None:
    catalogue(source, tmp_path / "out")
    before = files(tmp_path / "out")
    write(source, "RB", ["53065.25 3.6"])
    with pytest.raises(ValueError, match=r"RB-2004-03/pwv\.dat was written before with other rows"):
        catalogue(source, tmp_path / "out")
    assert files(tmp_path / "out") == before


@pytest.mark.skipif(not REAL.is_dir(), reason="the published series are not next to the repository")
def test_no_row_of_the_published_series_is_lost_or_moved(tmp_path: Path) -> None:
    found = packages(catalogue(REAL, tmp_path / "out"))
    expected: Counter[str] = Counter()
    for path in REAL.glob("*.dat"):
        for line in path.read_text().splitlines():
            if line and line[0] != "#":
                day = date(1858, 11, 17) + timedelta(days=int(line.partition(".")[0]))
                expected[f"{path.stem}-{day:%Y-%m}"] += 1
    assert {name: package["metadata"]["rows"] for name, package in found.items()} == expected
    for name, package in found.items():
        lines = (tmp_path / "out" / package["path"] / "pwv.dat").read_text().splitlines()
        assert sum(line[0] != "#" for line in lines) == expected[name]
