"""The CHAI pipeline of examples/chai, run as real programs by the container contract on simulated scans.

The programs run from a directory that holds nothing but the files `pipeline.yaml` lists for them, with its parameters.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess  # noqa: TID251
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from ruamel.yaml import YAML

from examples.chai import chai_radiometry as radiometry
from examples.chai.chai_sky import CHANNEL_WIDTH_HZ, CHANNELS, REST_FREQUENCY_HZ, BeamSky, Disk, velocities_km_s
from examples.chai.chai_telescope import BAD_SPECTRA, BEAM_EFFICIENCY, FORWARD_EFFICIENCY
from examples.chai.observe import observe

pytestmark = [pytest.mark.xdist_group("chai-reductions"), pytest.mark.slow]  # they share one night

Image = NDArray[np.floating[Any]]

CHAI = Path(__file__).parents[2] / "examples" / "chai"
PIPELINE: Mapping[str, Any] = YAML(typ="safe").load(CHAI / "pipeline.yaml")
STEPS: Mapping[str, Mapping[str, Any]] = {step["name"]: step for step in PIPELINE["steps"]}
VERSIONS: Mapping[str, Mapping[str, Any]] = {each["name"]: each["versions"][0] for each in PIPELINE["software"]}
SCANS = 2  # one along right ascension, one along declination
SOURCE_RADIUS_ARCSEC = 130.0


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One run of one step's program."""

    step: str
    sub_group: str
    output: Path
    exit_code: int
    errors: str

    def quality(self) -> dict[str, float]:
        quality: dict[str, float] = json.loads((self.output / "qa" / f"{self.step}.json").read_text())
        return quality

    def fits(self, path: str) -> tuple[fits.Header, Any]:
        with fits.open(self.output / path, memmap=False) as hdus:
            hdu = hdus[-1]
            return hdu.header, hdu.data

    def as_upstream(self) -> dict[str, Any]:
        files = listing(self.output)
        products = [{"product_id": n, "type": f["path"].split("/")[0], **f} for n, f in enumerate(files)]
        identity = {"step": self.step, "sub_group": self.sub_group, "run_id": 1, "path": str(self.output)}
        return {**identity, "dimensions": {"executed_obs_unit": self.sub_group}, "products": products}


def listing(folder: Path) -> list[dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "size_bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    ]


def package_input(folder: Path) -> dict[str, Any]:
    unit = folder.name.removesuffix("-CHAI")
    labels = {"executed_obs_unit": unit, "instrument": "CHAI", "instrument_module": "CHAI", "metadata": {}}
    return {"package_id": 1, "name": folder.name, "path": str(folder), **labels, "files": listing(folder)}


def attempt(
    folder: Path,
    step_name: str,
    sub_group: str,
    *,
    inputs: Sequence[Mapping[str, Any]] = (),
    upstream: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
) -> Attempt:
    """Run the step's program as the local back end would; `parameters` are added to the pipeline's."""
    step = STEPS[step_name]
    version = VERSIONS[step["software"]]
    code, output, manifest = (folder / name for name in ("code", "output", "manifest.json"))
    for directory in (code, output):
        directory.mkdir(parents=True)
    for name in version["code"]:
        shutil.copy(CHAI / name, code)
    content = {
        "schema_version": 1,
        "step": {"name": step_name, "final": step.get("final", False)},
        "sub_group": {"key": sub_group, "dimensions": {}},
        "inputs": inputs,
        "upstream": upstream,
        "parameters": {**step["parameters"], **(parameters or {})},
    }
    manifest.write_text(json.dumps(content))
    command = [word.format(python=sys.executable) for word in version["command"]]
    contract = {"WORKFLOW_MANIFEST": str(manifest), "WORKFLOW_OUTPUT_DIR": str(output)}
    environment = {**os.environ, **contract}  # noqa: TID251
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    return Attempt(step_name, sub_group, output, done.returncode, done.stderr)


def succeeded(done: Attempt) -> Attempt:
    assert done.exit_code == 0, done.errors
    return done


@dataclasses.dataclass(frozen=True)
class Night:
    """Simulated scans and their reduction from counts to the map."""

    catalogue: Mapping[str, Any]
    packages: Sequence[Path]
    calibrated: Sequence[Attempt]
    baselined: Sequence[Attempt]
    mapped: Attempt


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    catalogue = json.loads(observe(folder / "raw", scans=SCANS).read_text())
    packages = [folder / "raw" / package["path"] for package in catalogue["packages"]]
    calibrated = [
        succeeded(attempt(folder / "calibrate" / path.name, "calibrate", path.name, inputs=[package_input(path)]))
        for path in packages
    ]
    baselined = [
        succeeded(attempt(folder / "baseline" / c.sub_group, "baseline", c.sub_group, upstream=[c.as_upstream()]))
        for c in calibrated
    ]
    mapped = succeeded(attempt(folder / "map", "map", "all", upstream=[b.as_upstream() for b in baselined]))
    return Night(catalogue, packages, calibrated, baselined, mapped)


@dataclasses.dataclass(frozen=True)
class ModelMap:
    """What a noiseless map of the injected disk would hold, at the pixels and with the beam of the reduced one."""

    radius_arcsec: Image
    moment0: Image
    moment1: Image


@pytest.fixture(scope="module")
def model(night: Night) -> ModelMap:
    header, image = night.mapped.fits("science/moment0.fits")
    row, column = np.indices(image.shape)
    ra, dec = (np.asarray(axis) for axis in WCS(header).all_pix2world(column, row, 0))
    centre = Disk()
    north = (dec - centre.dec_deg) * 3600
    east = (ra - centre.ra_deg) * np.cos(np.radians(dec)) * 3600  # good to 0.1 arcsec over three arcmin
    line = BeamSky(centre, fwhm_arcsec=header["BMAJ"] * 3600).at(east, north)
    velocity = velocities_km_s()
    total = line.sum(axis=-1)
    step = abs(velocity[1] - velocity[0])
    return ModelMap(np.hypot(east, north), total * step, (line * velocity).sum(axis=-1) / np.maximum(total, 1e-9))


# The observations


def test_catalogue_names_existing_packages_and_times_in_utc(night: Night) -> None:
    catalogue = night.catalogue
    assert [package["name"] for package in catalogue["packages"]] == [path.name for path in night.packages]
    for package, unit, path in zip(catalogue["packages"], catalogue["executed_obs_units"], night.packages, strict=True):
        assert package["executed_obs_unit"] == unit["name"]
        assert sorted(file["path"] for file in listing(path)) == ["loads.fits", "otf.fits"]
        assert sum(file["size_bytes"] for file in listing(path)) < 3_000_000
        start, end, created = (
            datetime.fromisoformat(text) for text in (unit["start_time"], unit["end_time"], package["created_at"])
        )
        assert start.tzinfo == UTC
        assert start + timedelta(minutes=10) < end < created
    first, second = (datetime.fromisoformat(unit["start_time"]) for unit in catalogue["executed_obs_units"])
    assert datetime.fromisoformat(catalogue["executed_obs_units"][0]["end_time"]) < second
    assert first < second


def test_a_scan_has_the_same_bytes_whenever_it_is_simulated(night: Night, tmp_path: Path) -> None:
    observe(tmp_path / "again", scans=1, first_scan=2)
    again = listing(tmp_path / "again" / "packages" / night.packages[1].name)
    assert again == listing(night.packages[1])
    observe(tmp_path / "other", scans=1, first_scan=2, seed=254)
    assert listing(tmp_path / "other" / "packages" / night.packages[1].name) != again


def test_simulated_sky_holds_the_flux_of_the_disk() -> None:
    sky = BeamSky(Disk())
    step = abs(velocities_km_s()[1] - velocities_km_s()[0])
    flux = sky.cube_k.sum() * step * sky.step_arcsec**2
    assert flux == pytest.approx(sky.disk.flux_k_km_s_arcsec2, rel=0.005)


# The equations


def test_chopper_wheel_equations_give_the_values_worked_out_by_hand() -> None:
    hot, cold, sky, off = (np.array([counts]) for counts in (740.0, 340.0, 380.0, 380.0))
    assert radiometry.gain_counts_per_k(hot, cold, 280.0, 80.0) == pytest.approx(2.0)
    assert radiometry.receiver_temperature_k(hot, cold, 280.0, 80.0) == pytest.approx(90.0)  # 740 / 2 - 280
    t_sky = sky / 2.0 - 90.0
    tau = radiometry.line_of_sight_opacity(t_sky, 200.0, 268.0, 1.0)
    assert tau == pytest.approx(np.log(2))  # half of 200 K seen
    t_cal = radiometry.calibration_temperature_k(280.0, t_sky, tau, 1.0)
    assert t_cal == pytest.approx(360.0)  # (280 - 100) * 2
    assert radiometry.antenna_temperature_k(off + 1.0, off, hot, sky, t_cal) == pytest.approx(1.0)
    assert radiometry.system_temperature_k(hot, sky, t_cal) == pytest.approx(380.0)  # (90 + 100) * 2


def test_forward_efficiency_adds_spillover_and_divides_the_signal() -> None:
    t_sky = np.array([0.95 * 200.0 * 0.5 + 0.05 * 260.0])
    assert radiometry.line_of_sight_opacity(t_sky, 200.0, 260.0, 0.95) == pytest.approx(np.log(2))
    t_cal = radiometry.calibration_temperature_k(280.0, t_sky, np.log([2.0]), 0.95)
    assert t_cal == pytest.approx((280.0 - 108.0) * 2 / 0.95)
    assert np.isnan(radiometry.line_of_sight_opacity(np.array([210.0]), 200.0, 260.0, 1.0)).all()


def test_brightness_water_noise_and_flux_scale_have_the_values_worked_out_by_hand() -> None:
    assert radiometry.rayleigh_jeans_k(293.0, REST_FREQUENCY_HZ) == pytest.approx(282.076, abs=1e-3)
    assert radiometry.rayleigh_jeans_k(80.0, REST_FREQUENCY_HZ) == pytest.approx(69.446, abs=1e-3)
    water = radiometry.water_vapour_mm(np.log([2.0]), np.array([30.0]))
    assert water == pytest.approx(0.39543, abs=1e-5)
    noise = radiometry.radiometer_rms_k(np.array([380.0]), 12e6, np.array([1.0]), np.array([4.0]))
    assert noise == pytest.approx(0.122644, abs=1e-5)
    assert radiometry.jansky_per_k_arcsec2(REST_FREQUENCY_HZ) == pytest.approx(0.153497, abs=1e-6)


# The reduction


def test_calibration_recovers_the_weather_and_the_receiver(night: Night) -> None:
    for done, package in zip(night.calibrated, night.catalogue["packages"], strict=True):
        quality = done.quality()
        assert quality["pwv_mm"] == pytest.approx(package["metadata"]["observation"]["pwv_mm"], abs=0.001)
        assert quality["t_rec_k"] == pytest.approx(92.0, abs=3.0)
        assert quality["gain_counts_per_k_s"] == pytest.approx(1900.0, rel=0.05)
        assert quality["t_rec_k"] < quality["t_sys_k"] < quality["t_sys_k_max"]


def test_noise_is_the_radiometer_equations_and_the_spoilt_spectra_are_flagged(night: Night) -> None:
    for done in night.baselined:
        _, table = done.fits("intermediate/baselined.fits")
        good = ~table["FLAG"]
        expected = radiometry.radiometer_rms_k(table["TSYS"], CHANNEL_WIDTH_HZ, table["EXP_ON"], table["EXP_OFF"])
        assert np.median(table["RMS"][good] / expected[good]) == pytest.approx(1.0, abs=0.03)
        quality = done.quality()
        assert quality["n_flagged"] == BAD_SPECTRA == (~good).sum()
        assert quality["flagged_fraction"] == pytest.approx(BAD_SPECTRA / quality["n_spectra"])
        assert quality["rms_k"] == pytest.approx(np.median(table["RMS"][good]))


def test_injected_line_flux_is_recovered_within_four_per_cent(night: Night, model: ModelMap) -> None:
    quality = night.mapped.quality()
    _, image = night.mapped.fits("science/moment0.fits")
    injected = model.moment0[model.radius_arcsec <= SOURCE_RADIUS_ARCSEC].sum() * 8.0**2
    assert quality["line_flux_k_km_s_arcsec2"] == pytest.approx(injected, rel=0.04)
    assert quality["line_flux_k_km_s_arcsec2"] == pytest.approx(Disk().flux_k_km_s_arcsec2, rel=0.055)
    assert quality["line_flux_jy_km_s"] == pytest.approx(quality["line_flux_k_km_s_arcsec2"] * 0.153497, rel=1e-5)
    assert quality["peak_k_km_s"] == pytest.approx(model.moment0.max(), rel=0.04)
    brightest = np.unravel_index(np.nanargmax(image), image.shape)
    assert model.radius_arcsec[brightest] < 9.0


def test_velocity_field_is_recovered_within_three_km_s(night: Night, model: ModelMap) -> None:
    _, image = night.mapped.fits("science/moment1.fits")
    seen = np.isfinite(image)
    error = image[seen] - model.moment1[seen]
    assert seen.sum() > 150
    assert np.median(np.abs(error)) < 3.0
    assert abs(np.median(error)) < 1.5
    assert np.ptp(image[seen]) > 300.0


def test_map_counts_what_went_into_it(night: Night) -> None:
    quality = night.mapped.quality()
    assert quality["n_scans"] == SCANS
    assert quality["n_spectra"] == sum(b.quality()["n_spectra"] - b.quality()["n_flagged"] for b in night.baselined)
    lines = (night.mapped.output / "statistics" / "scans.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["sub_group", *(path.name for path in night.packages)]
    assert sum(float(line.split(",")[-1]) for line in lines[1:]) == pytest.approx(1.0, abs=1e-3)


def test_cube_says_where_and_at_what_velocity_it_is(night: Night) -> None:
    header, cube = night.mapped.fits("science/cube.fits")
    assert cube.shape[0] == CHANNELS
    ra, dec, velocity = WCS(header).all_pix2world([[header["CRPIX1"], header["CRPIX2"], CHANNELS // 2 + 1]], 1)[0]
    assert (ra, dec) == pytest.approx((Disk.ra_deg, Disk.dec_deg))
    assert velocity == pytest.approx(Disk.systemic_km_s * 1e3)
    words = {key: header[key] for key in ("CTYPE3", "CUNIT3", "SPECSYS", "RESTFRQ", "BUNIT", "RADESYS", "DATE-OBS")}
    assert words == {
        "CTYPE3": "VRAD",
        "CUNIT3": "m/s",
        "SPECSYS": "BARYCENT",
        "RESTFRQ": REST_FREQUENCY_HZ,
        "BUNIT": "K",
        "RADESYS": "ICRS",
        "DATE-OBS": night.catalogue["executed_obs_units"][0]["start_time"].removesuffix("Z"),
    }
    assert "DATE" not in header
    assert header["BMAJ"] * 3600 == pytest.approx(np.hypot(26.0, 10.0))


def test_every_product_is_in_a_directory_of_the_contract_and_plots_are_small(night: Night) -> None:
    for done in (*night.calibrated, *night.baselined, night.mapped):
        for file in listing(done.output):
            assert file["path"].split("/")[0] in {"science", "qa", "plots", "statistics", "intermediate"}
            assert not file["path"].endswith(".png") or 5_000 < file["size_bytes"] < 60_000
        assert all(isinstance(value, int | float) for value in done.quality().values())
        assert not done.errors


def test_running_again_gives_the_same_bytes(night: Night, tmp_path: Path) -> None:
    first, path = night.calibrated[0], night.packages[0]
    again = attempt(tmp_path / "calibrate", "calibrate", path.name, inputs=[package_input(path)])
    assert listing(again.output) == listing(first.output)
    again = attempt(tmp_path / "baseline", "baseline", path.name, upstream=[first.as_upstream()])
    assert listing(again.output) == listing(night.baselined[0].output)
    again = attempt(tmp_path / "map", "map", "all", upstream=[b.as_upstream() for b in night.baselined])
    assert listing(again.output) == listing(night.mapped.output)


def test_classic_chopper_underestimates_under_a_colder_atmosphere(night: Night, tmp_path: Path) -> None:
    path, hot_cold = night.packages[0], night.calibrated[0]
    mode = {"calibration_mode": "chopper"}
    chopper = attempt(tmp_path, "calibrate", path.name, inputs=[package_input(path)], parameters=mode)
    assert set(succeeded(chopper).quality()) == {"n_spectra", "t_sys_k", "t_sys_k_max"}
    (_, classic), (_, exact) = (done.fits("intermediate/spectra.fits") for done in (chopper, hot_cold))
    bright = exact["TASTAR"] > np.float32(1.5)
    ratio = np.median(classic["TASTAR"][bright] / exact["TASTAR"][bright])
    assert ratio == pytest.approx(classic_over_exact(hot_cold.quality()["tau_zenith"], 52.5), abs=0.01)
    assert ratio < 0.95


def classic_over_exact(tau_zenith: float, elevation_deg: float) -> float:
    """J_hot F exp(-tau) / (J_hot - T_sky) of the simulated load, atmosphere and spillover."""
    transmission = np.exp(-tau_zenith / np.sin(np.radians(elevation_deg)))
    hot, atmosphere, ambient = (radiometry.rayleigh_jeans_k(t, REST_FREQUENCY_HZ) for t in (293.0, 258.0, 268.0))
    t_sky = FORWARD_EFFICIENCY * atmosphere * (1 - transmission) + (1 - FORWARD_EFFICIENCY) * ambient
    return float(hot * FORWARD_EFFICIENCY * transmission / (hot - t_sky))


def test_rms_weighting_and_beam_efficiency_reach_the_map(night: Night, tmp_path: Path) -> None:
    changed = {"weighting": "rms", "beam_efficiency": BEAM_EFFICIENCY / 2}
    upstream = [b.as_upstream() for b in night.baselined]
    other = succeeded(attempt(tmp_path, "map", "all", upstream=upstream, parameters=changed))
    flux = night.mapped.quality()["line_flux_k_km_s_arcsec2"]
    assert other.quality()["line_flux_k_km_s_arcsec2"] == pytest.approx(2 * flux, rel=0.01)
    assert other.quality()["line_flux_k_km_s_arcsec2"] != 2 * flux


# Refusals


@pytest.mark.parametrize(
    ("step", "parameters", "said"),
    [
        ("calibrate", {"calibration_mode": "hot"}, "parameter 'calibration_mode' is 'hot'; valid: hot_cold or chopper"),
        ("calibrate", {"mode": 1}, "unknown parameter 'mode'; valid parameters: calibration_mode, forward_efficiency"),
        ("baseline", {"order": 7}, "parameter 'order' is 7; valid: a whole number from 0 to 6"),
        (
            "baseline",
            {"line_window_km_s": [500, -15]},
            "parameter 'line_window_km_s' is [500, -15]; valid: two numbers",
        ),
        ("baseline", {"line_window_km_s": [-900, 900]}, "it leaves 0 of 128 channels for a baseline of order 1; valid"),
        ("map", {"weighting": "none"}, "parameter 'weighting' is 'none'; valid: tsys or rms"),
        ("map", {"beam_efficiency": 75}, "parameter 'beam_efficiency' is 75; valid: a number from 0.1 to 1"),
    ],
)
def test_a_bad_parameter_exits_78_and_names_itself(
    night: Night, tmp_path: Path, step: str, parameters: Mapping[str, Any], said: str
) -> None:
    upstream = [{"baseline": night.calibrated, "map": night.baselined}.get(step, night.calibrated)[0].as_upstream()]
    refused = attempt(tmp_path, step, "x", upstream=upstream, parameters=parameters)
    assert refused.exit_code == 78, refused.errors
    assert refused.errors.startswith("bad configuration: ")
    assert said in refused.errors
    assert listing(refused.output) == []


def stuck_load(folder: Path) -> None:
    with fits.open(folder / "loads.fits", mode="update", memmap=False) as hdus:
        table = hdus["LOADS"].data
        table["COUNTS"][table["PHASE"] == "HOT"] = table["COUNTS"][table["PHASE"] == "COLD"]


def cut_off(folder: Path) -> None:
    raw = (folder / "otf.fits").read_bytes()
    (folder / "otf.fits").write_bytes(raw[: len(raw) // 2])


def no_off(folder: Path) -> None:
    with fits.open(folder / "otf.fits", mode="update", memmap=False) as hdus:
        table = hdus["OTF"].data
        table["KIND"][(table["KIND"] == "OFF") & (table["ROW"] == 3) & (table["PIXEL"] == 2)] = "ON"


def opaque_sky(folder: Path) -> None:
    with fits.open(folder / "loads.fits", mode="update", memmap=False) as hdus:
        table = hdus["LOADS"].data
        table["COUNTS"][table["PHASE"] == "SKY"] = table["COUNTS"][table["PHASE"] == "HOT"] - 1


def lost_file(folder: Path) -> None:
    (folder / "loads.fits").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (stuck_load, "the hot load is not the brightest in block 0, pixel 0, channel 0: HOT"),
        (cut_off, "otf.fits: cannot read table OTF"),
        (no_off, "row 3 of pixel 2 has no OFF spectrum"),
        (opaque_sky, "is brighter than any opacity explains"),
        (lost_file, "has 0 files loads.fits, not one; its files: otf.fits"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_raw_data_exit_65_and_name_the_place(night: Night, tmp_path: Path, spoil: Any, said: str) -> None:
    package = tmp_path / night.packages[0].name
    shutil.copytree(night.packages[0], package)
    spoil(package)
    refused = attempt(tmp_path / "attempt", "calibrate", package.name, inputs=[package_input(package)])
    assert refused.exit_code == 65, refused.errors
    assert refused.errors.startswith("bad data: ")
    assert said in refused.errors
    assert package.name in refused.errors


def test_a_missing_upstream_product_exits_65(night: Night, tmp_path: Path) -> None:
    refused = attempt(tmp_path, "map", "all", upstream=[night.calibrated[0].as_upstream()])
    assert refused.exit_code == 65
    assert "upstream 'calibrate' of 'NGC253-CO43-0001-CHAI' has 0 files baselined.fits, not one" in refused.errors
