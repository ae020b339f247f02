import csv
import hashlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess  # noqa: TID251  # the reductions are run as the programs they are
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from examples.site_pwv.site_pwv_catalogue import catalogue

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[2] / "examples" / "site_pwv"
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "site-pwv"
PIPELINE = YAML(typ="safe").load((HERE / "pipeline.yaml").read_text(encoding="utf-8"))
PARAMETERS = {step["name"]: step["parameters"] for step in PIPELINE["steps"]}
NAMES = ("q10", "q25", "q50", "q75", "q90")
# wet opacity per mm, dry opacity: retyped from the README
OPACITY = {
    "chai_461": (0.690, 0.034),
    "chai_492": (0.937, 0.116),
    "chai_806": (1.495, 0.078),
    "chai_809": (1.430, 0.078),
    "primecam_220": (0.041, 0.008),
    "primecam_280": (0.066, 0.012),
    "primecam_350": (0.161, 0.018),
    "primecam_410": (0.280, 0.043),
    "primecam_850": (1.097, 0.084),
}

Rows = list[tuple[float, float]]
Environment = dict[str, str]


@dataclass
class Run:
    """One run of a program: its exit code, what it said and the folder it filled."""

    code: int
    stderr: str
    output: Path

    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.output.rglob("*") if path.is_file())
        return {str(path.relative_to(self.output)): path.read_bytes() for path in paths}

    def json(self, path: str) -> Any:
        return json.loads((self.output / path).read_text(encoding="utf-8"))

    def as_upstream(self, step: str, **dimensions: str) -> dict[str, Any]:
        key = ",".join(f"{name}={value}" for name, value in dimensions.items())
        products = [
            {"product_id": 1, "type": path.partition("/")[0], "path": path, "size_bytes": len(content), "sha256": "0"}
            for path, content in self.files().items()
        ]
        upstream = {"step": step, "sub_group": key, "dimensions": dimensions, "run_id": 1}
        return {**upstream, "path": str(self.output), "products": products}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    # the programs start in a third of the time when their libraries are compiled once
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # noqa: TID251
    shared = tmp_path_factory.getbasetemp().parent / "site-pwv-pycache"  # by all workers
    return {**kept, "PYTHONPYCACHEPREFIX": str(shared), "PYTHONWARNINGS": "error"}


def package(folder: Path, module: str = "RA") -> dict[str, Any]:
    files = [
        {"path": path.name, "size_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    ]
    unit = {"executed_obs_unit": folder.name, "instrument": "Site radiometers", "instrument_module": module}
    return {"package_id": 1, "name": folder.name, "path": str(folder), "checksum": "0", "metadata": {}, **unit} | {
        "files": files
    }


def run(environment: Environment, step: str, folder: Path, **given: Any) -> Run:
    """Run a step's program by the contract; given: inputs, upstream, dimensions, parameters."""
    output = folder / "output"
    output.mkdir(parents=True)
    manifest = {
        "schema_version": 1,
        "run": {"id": 1, "attempt": 1, "submission_key": "0", "pipeline": "site-pwv", "revision": 1},
        "step": {"name": step, "final": step == "climatology", "software": f"site-pwv-{step}", "version": "1.0.0"},
        "sub_group": {"key": "", "dimensions": given.get("dimensions", {})},
        "inputs": given.get("inputs", []),
        "upstream": given.get("upstream", []),
        "parameters": given.get("parameters", PARAMETERS[step]),
        "resources": {"cpus": 1, "memory_gb": 1.0, "time_hours": 0.1},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    paths = {"WORKFLOW_MANIFEST": str(folder / "manifest.json"), "WORKFLOW_OUTPUT_DIR": str(output)}
    return start(step, {**environment, **paths}, output)


def start(step: str, environment: Environment, output: Path) -> Run:
    command = [sys.executable, str(HERE / f"{step}.py")]
    done = subprocess.run(command, env=environment, cwd=output, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stderr, output)


@dataclass
class Chain:
    """All runs of the pipeline on the packages of one catalogue, and what each package's clean run should leave."""

    expected: dict[str, tuple[Rows, dict[str, float]]]
    module: dict[str, str]
    inputs: dict[str, dict[str, Any]]
    clean: dict[str, Run]
    transmission: dict[str, Run]
    climatology: Run

    def clean_upstream(self, module: str | None = None) -> list[dict[str, Any]]:
        chosen = (name for name in self.clean if module in (None, self.module[name]))
        return [self.clean[name].as_upstream("clean", executed_obs_unit=name) for name in chosen]

    def all_upstream(self) -> list[dict[str, Any]]:
        runs = self.transmission.items()
        return self.clean_upstream() + [one.as_upstream("transmission", instrument_module=name) for name, one in runs]

    def kept(self, module: str | None = None) -> Rows:
        chosen = [name for name in self.expected if module in (None, self.module[name])]
        return [row for name in chosen for row in self.expected[name][0]]


def run_chain(environment: Environment, catalogue_file: Path, folder: Path) -> Chain:
    document = json.loads(catalogue_file.read_text(encoding="utf-8"))
    module = {entry["name"]: entry["instrument_module"] for entry in document["packages"]}
    folders = {entry["name"]: catalogue_file.parent / entry["path"] for entry in document["packages"]}
    expected = {name: expected_rows(read_raw(path / "pwv.dat")) for name, path in folders.items()}
    inputs = {name: package(path, module[name]) for name, path in folders.items()}
    clean = {}
    for name, entry in inputs.items():
        place = folder / "clean" / name
        clean[name] = run(environment, "clean", place, inputs=[entry], dimensions={"executed_obs_unit": name})
    chain = Chain(expected, module, inputs, clean, {}, Run(-1, "", folder))
    for name in sorted(set(module.values())):
        upstream, dimensions = chain.clean_upstream(name), {"instrument_module": name}
        place = folder / "transmission" / name
        chain.transmission[name] = run(environment, "transmission", place, upstream=upstream, dimensions=dimensions)
    chain.climatology = run(environment, "climatology", folder / "climatology", upstream=chain.all_upstream())
    return chain


def read_raw(path: Path) -> Rows:
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return [(float(mjd), float(pwv)) for mjd, pwv in lines]


def synthetic_rows(seed: int, first_mjd: float, days: int) -> list[str]:
    """Rows every 30 minutes, never on a full hour, out of order, with spikes, duplicates and non-physical values."""
    dice = random.Random(seed)
    rows = []
    for step in range(days * 48):
        mjd = first_mjd + (step * 1800 + 700) / 86400
        pwv = math.exp(0.3 * math.sin(mjd / 3) + dice.gauss(0, 0.1))
        spike = math.exp(dice.uniform(0.3, 1.5)) if step % 11 == 5 else 1.0  # some are just within the rule
        rows.append(f"{mjd:.12f} {-pwv if step % 211 == 9 else min(pwv * spike, 19.0):.12f}")
        if step % 101 == 3:
            rows.append(f"{mjd:.12f} {pwv + 0.5:.12f}")
    rows.append(f"{first_mjd + 0.4123:.12f} 20.000001")
    return rows[40:] + rows[:40]


@pytest.fixture(scope="module")
def chain(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("site-pwv")
    (folder / "source").mkdir()
    # 53064 is 2004-02-29: RA has rows in February, March and, after a gap, May of 2004; RB in February 2004
    series = {"RA": synthetic_rows(1, 53060, 9) + synthetic_rows(2, 53130, 4), "RB": synthetic_rows(3, 53040, 5)}
    for name, rows in series.items():
        (folder / "source" / f"{name}.dat").write_text("# header\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return run_chain(environment, catalogue(folder / "source", folder / "catalogue"), folder)


def expected_rows(raw: Rows) -> tuple[Rows, dict[str, float]]:
    """Clean as the README says, in plain Python, with the pipeline's parameters."""
    first: dict[float, float] = {}
    for mjd, pwv in raw:
        first.setdefault(mjd, pwv)
    physical = [(mjd, pwv) for mjd, pwv in sorted(first.items()) if 0 < pwv <= 20]
    kept: Rows = []
    width = min(21, len(physical))
    for place, (mjd, pwv) in enumerate(physical):
        begin = min(max(place - width // 2, 0), len(physical) - width)
        window = [math.log(one) for _, one in physical[begin : begin + width]]
        median = statistics.median(window)
        spread = 1.4826 * statistics.median(abs(one - median) for one in window)
        if abs(math.log(pwv) - median) <= 6 * max(spread, 0.05):
            kept.append((mjd, pwv))
    return kept, {
        "n_rows": len(raw),
        "n_duplicates": len(raw) - len(first),
        "n_non_physical": len(first) - len(physical),
        "n_outliers": len(physical) - len(kept),
        "n_rejected": len(raw) - len(kept),
        "fraction_rejected": 1 - len(kept) / len(raw),
        "fraction_rejected_max": 0.2,
        "median_pwv_mm": statistics.median(pwv for _, pwv in kept),
    }


def expected_quantiles(values: list[float]) -> list[float]:
    ordered = sorted(values)
    places = [fraction * (len(ordered) - 1) for fraction in (0.1, 0.25, 0.5, 0.75, 0.9)]
    pairs = [(int(place), min(int(place) + 1, len(ordered) - 1), place % 1) for place in places]
    return [ordered[low] * (1 - part) + ordered[high] * part for low, high, part in pairs]


def expected_transmission(chain: Chain, module: str, band: str) -> list[float]:
    wet, dry = OPACITY[band]
    return expected_quantiles([math.exp(-(wet * pwv + dry)) for _, pwv in chain.kept(module)])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_clean(chain: Chain) -> None:
    for name, done in chain.clean.items():
        assert (done.code, done.stderr) == (0, "")
        lines = (done.output / "intermediate" / "pwv.csv").read_text(encoding="utf-8").splitlines()
        kept, quality = chain.expected[name]
        assert lines[:2] == [f"# radiometer: {chain.module[name]}", "mjd_utc,pwv_mm"]
        assert lines[2:] == [f"{mjd:.12f},{pwv:.12f}" for mjd, pwv in kept]
        assert done.json("qa/clean.json") == pytest.approx(quality)


def check_transmission(chain: Chain) -> None:
    for module, done in chain.transmission.items():
        assert (done.code, done.stderr) == (0, "")
        rows = table(done.output / "science" / "transmission.csv")
        quality = done.json("qa/transmission.json")
        n_series = sum(one == module for one in chain.module.values())
        assert [row["band"] for row in rows] == list(OPACITY)
        assert (quality["n_rows"], quality["n_series"]) == (len(chain.kept(module)), n_series)
        for row in rows:
            expected = expected_transmission(chain, module, row["band"])
            assert [float(row[name]) for name in NAMES] == pytest.approx(expected, abs=2e-9)
            assert row["n_rows"] == str(len(chain.kept(module)))
            assert quality[f"{row['band']}_median"] == pytest.approx(expected[2])


def check_climatology(chain: Chain) -> None:
    done = chain.climatology
    assert (done.code, done.stderr) == (0, "")
    bins: dict[tuple[str, str], list[float]] = {("pwv_mm_by_month", f"{month:02d}"): [] for month in range(1, 13)}
    bins |= {("pwv_mm_by_hour", f"{hour:02d}"): [] for hour in range(24)}
    for mjd, pwv in chain.kept():
        time = datetime(1858, 11, 17) + timedelta(days=mjd)  # noqa: DTZ001  # UTC by the data's definition
        rounded = time + timedelta(milliseconds=500)
        bins["pwv_mm_by_month", f"{time.month:02d}"].append(pwv)
        bins["pwv_mm_by_hour", f"{rounded.hour:02d}"].append(pwv)
    expected = [(*key, len(values), expected_quantiles(values) if values else None) for key, values in bins.items()]
    counts = {module: len(chain.kept(module)) for module in chain.transmission}
    n_rows = sum(counts.values())
    for band in OPACITY:
        each = [[n * value for value in expected_transmission(chain, one, band)] for one, n in counts.items()]
        expected.append(("transmission", band, n_rows, [sum(values) / n_rows for values in zip(*each, strict=True)]))
    rows = table(done.output / "science" / "climatology.csv")
    assert [(row["quantity"], row["bin"], int(row["n_rows"])) for row in rows] == [line[:3] for line in expected]
    for row, (*_, values) in zip(rows, expected, strict=True):
        if values is None:
            assert [row[name] for name in NAMES] == [""] * 5
        else:
            assert [float(row[name]) for name in NAMES] == pytest.approx(values, abs=2e-9)


def check_statistics(chain: Chain) -> None:
    found = chain.climatology.json("statistics/climatology.json")
    quality = chain.climatology.json("qa/climatology.json")
    values = [pwv for _, pwv in chain.kept()]
    n_kept = {name: len(rows) for name, (rows, _) in chain.expected.items()}
    assert found["months"] == [
        {"month": name[-7:], "radiometer": chain.module[name], "executed_obs_unit": name, "n_rows": n_kept[name]}
        for name in sorted(n_kept)
    ]
    numbers = {"n_rows": len(values), "n_months": len(n_kept), "n_radiometers": len(chain.transmission)}
    assert {name: found[name] for name in numbers} == numbers == {name: quality[name] for name in numbers}
    assert list(found["pwv_mm"].values()) == pytest.approx(expected_quantiles(values))
    assert quality["median_pwv_mm"] == pytest.approx(statistics.median(values))
    assert all(type(number) in (int, float) for number in quality.values())


def test_clean_equals_the_rule_in_plain_python(chain: Chain) -> None:
    assert list(chain.clean) == ["RA-2004-02", "RA-2004-03", "RA-2004-05", "RB-2004-02"]
    total = [chain.clean[name].json("qa/clean.json") for name in chain.clean]
    # every reason to reject occurs
    for reason in ("n_duplicates", "n_non_physical", "n_outliers"):
        assert sum(quality[reason] for quality in total) >= 4
    check_clean(chain)


def test_transmission_equals_the_readme(chain: Chain) -> None:
    check_transmission(chain)


def test_climatology_equals_plain_python(chain: Chain) -> None:
    check_climatology(chain)
    quality = chain.climatology.json("qa/climatology.json")
    february, march, may = (
        statistics.median(pwv for name, (rows, _) in chain.expected.items() if name.endswith(end) for _, pwv in rows)
        for end in ("-02", "-03", "-05")
    )
    driest, month = min((february, 2), (march, 3), (may, 5))
    assert (quality["driest_month"], quality["driest_month_median_pwv_mm"]) == (month, pytest.approx(driest))


def test_statistics_list_every_month(chain: Chain) -> None:
    check_statistics(chain)


def test_same_manifest_in_another_order_same_bytes(chain: Chain, environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "RA-2004-04").mkdir()  # claims times of February: which package comes first decides
    lines = (Path(chain.inputs["RA-2004-02"]["path"]) / "pwv.dat").read_text(encoding="utf-8").splitlines()
    overlap = "".join(f"{line.split()[0]} 1.25\n" for line in lines[1:])
    (tmp_path / "RA-2004-04" / "pwv.dat").write_text(overlap, encoding="utf-8")
    inputs = [chain.inputs["RA-2004-02"], package(tmp_path / "RA-2004-04")]
    forward = run(environment, "clean", tmp_path / "forward", inputs=inputs)
    backward = run(environment, "clean", tmp_path / "backward", inputs=inputs[::-1])
    assert forward.files() == backward.files()
    upstream, dimensions = chain.clean_upstream("RA")[::-1], {"instrument_module": "RA"}
    again = run(environment, "transmission", tmp_path / "transmission", upstream=upstream, dimensions=dimensions)
    assert again.files() == chain.transmission["RA"].files()
    again = run(environment, "climatology", tmp_path / "climatology", upstream=chain.all_upstream()[::-1])
    assert again.files() == chain.climatology.files()


def test_bands_keep_their_order_when_radiometers_differ(chain: Chain, environment: Environment, tmp_path: Path) -> None:
    given: dict[str, Any] = {"upstream": chain.clean_upstream("RB"), "parameters": {"bands": ["primecam_850"]}}
    one_band = run(environment, "transmission", tmp_path / "transmission", **given)
    upstream = [*chain.all_upstream()[:-1], one_band.as_upstream("transmission", instrument_module="RB")]
    done = run(environment, "climatology", tmp_path / "climatology", upstream=upstream[::-1])
    rows = [row for row in table(done.output / "science" / "climatology.csv") if row["quantity"] == "transmission"]
    n_rows = {module: len(chain.kept(module)) for module in ("RA", "RB")}
    expected = [(band, str(n_rows["RA"])) for band in OPACITY][:-1]
    assert [(row["bin"], row["n_rows"]) for row in rows] == [*expected, ("primecam_850", str(sum(n_rows.values())))]


def test_outputs_are_where_the_contract_wants_them(chain: Chain) -> None:
    assert set(chain.clean["RA-2004-02"].files()) == {"intermediate/pwv.csv", "qa/clean.json", "plots/pwv.png"}
    names = {"science/transmission.csv", "qa/transmission.json", "plots/transmission.png"}
    assert set(chain.transmission["RA"].files()) == names
    folders = ("science/{}.csv", "statistics/{}.json", "qa/{}.json", "plots/{}.png")
    assert set(chain.climatology.files()) == {name.format("climatology") for name in folders}


def plots(*runs: Run) -> Iterator[bytes]:
    for one in runs:
        yield from (content for path, content in one.files().items() if path.endswith(".png"))


def test_plots_are_small_and_bare(chain: Chain) -> None:
    images = list(plots(*chain.clean.values(), *chain.transmission.values(), chain.climatology))
    assert len(images) == 7
    for image in images:
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(image) <= 60_000
        assert not any(chunk in image for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))


def test_parameters_change_the_result(chain: Chain, environment: Environment, tmp_path: Path) -> None:
    upstream = chain.clean_upstream("RB")
    parameters = {"bands": ["primecam_850", "chai_461"], "pwv_ratio": 0.68}
    done = run(environment, "transmission", tmp_path / "transmission", upstream=upstream, parameters=parameters)
    rows = table(done.output / "science" / "transmission.csv")
    median = statistics.median(pwv for _, pwv in chain.kept("RB"))
    medians = {row["band"]: float(row["q50"]) for row in rows}
    assert list(medians) == ["chai_461", "primecam_850"]
    assert medians["chai_461"] == pytest.approx(math.exp(-(0.690 * 0.68 * median + 0.034)), abs=1e-4)
    done = run(
        environment, "climatology", tmp_path / "c", upstream=chain.all_upstream(), parameters={"min_rows": 10**6}
    )
    rows = table(done.output / "science" / "climatology.csv")
    assert {row["q50"] for row in rows if row["quantity"] != "transmission"} == {""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# x\n53065.1 1.0\n53065.2 wet\n", "pwv.dat, line 3: not MJD and PWV: '53065.2 wet'"),
        ("53065.1 1.0 3\n", "pwv.dat, line 1: not MJD and PWV: '53065.1 1.0 3'"),
        ("nan 1.0\n", "pwv.dat, line 1: time is not finite: 'nan 1.0'"),
        ("# nothing\n\n", "pwv.dat holds no rows"),
        ("53065.1 -1\n53065.2 nan\n53065.3 20.5\n", "none of 3 rows is within 0.0 to 20.0 mm"),
        (None, "pwv.dat cannot be read: No such file or directory"),
    ],
)
def test_clean_refuses_bad_data(environment: Environment, tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "RA-2004-03").mkdir()
    file = tmp_path / "RA-2004-03" / "pwv.dat"
    file.write_text(text or "", encoding="utf-8")
    entry = package(file.parent)
    if text is None:
        file.unlink()
    done = run(environment, "clean", tmp_path / "run", inputs=[entry])
    assert (done.code, done.files()) == (65, {})
    assert done.stderr.startswith("bad data: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_company_is_bad_data(chain: Chain, environment: Environment, tmp_path: Path) -> None:
    both = [chain.inputs["RA-2004-02"], chain.inputs["RB-2004-02"]]
    done = run(environment, "clean", tmp_path / "1", inputs=both)
    assert (done.code, done.stderr) == (
        65,
        "bad data: expected files of one radiometer, found 2 files of ['RA', 'RB']\n",
    )
    upstream, dimensions = chain.clean_upstream(), {"instrument_module": "RB"}
    done = run(environment, "transmission", tmp_path / "2", upstream=upstream, dimensions=dimensions)
    message = "bad data: sub-group is of radiometer RB, its upstream runs are of ['RA', 'RB']\n"
    assert (done.code, done.stderr) == (65, message)
    done = run(environment, "climatology", tmp_path / "3", upstream=chain.clean_upstream())
    assert (done.code, done.stderr) == (65, "bad data: the manifest has no upstream run of step 'transmission'\n")


def test_a_broken_upstream_is_bad_data(chain: Chain, environment: Environment, tmp_path: Path) -> None:
    bare = chain.clean_upstream("RB")[0] | {"products": []}
    done = run(environment, "transmission", tmp_path / "1", upstream=[bare])
    assert done.code == 65
    assert "declares no product intermediate/pwv.csv" in done.stderr
    shutil.copytree(chain.transmission["RB"].output, tmp_path / "broken")
    (tmp_path / "broken" / "science" / "transmission.csv").write_text("band,n_rows\nx,1\n", encoding="utf-8")
    broken = Run(0, "", tmp_path / "broken").as_upstream("transmission", instrument_module="RB")
    done = run(environment, "climatology", tmp_path / "2", upstream=[*chain.clean_upstream("RB"), broken])
    assert done.code == 65
    assert "transmission.csv is no table of transmission quantiles: KeyError('q10')" in done.stderr


@pytest.mark.parametrize(
    ("step", "parameters", "message"),
    [
        ("clean", {"outlier_sigmas": 0.5}, "outlier_sigmas = 0.5: valid is a number from 1.0 to 100.0"),
        ("clean", {"max_pwv_mm": "20"}, "max_pwv_mm = '20': valid is a number from 0.0 to 100.0"),
        ("clean", {"outlier_window_rows": 7.5}, "outlier_window_rows = 7.5: valid is a whole number from 3 to 1001"),
        ("clean", {"min_pwv_mm": 5, "max_pwv_mm": 5}, "min_pwv_mm = 5.0: valid is less than max_pwv_mm = 5.0"),
        ("clean", {"sigmas": 3}, "sigmas = 3 is unknown: valid are min_pwv_mm, max_pwv_mm, outlier_window_rows, "),
        ("transmission", {"bands": ["chai_345"]}, f"bands = ['chai_345']: valid is a list of {', '.join(OPACITY)}"),
        ("transmission", {"pwv_ratio": True}, "pwv_ratio = True: valid is a number from 0.01 to 2.0"),
        ("climatology", {"min_rows": 0}, "min_rows = 0: valid is a whole number from 1 to 1000000"),
    ],
)
def test_a_bad_parameter_is_named_with_its_choices(
    environment: Environment, tmp_path: Path, step: str, parameters: dict[str, Any], message: str
) -> None:
    done = run(environment, step, tmp_path / "run", parameters=parameters)
    assert (done.code, done.files()) == (78, {})
    assert done.stderr.startswith(f"bad configuration: parameter {message}")
    assert done.stderr.count("\n") == 1


def test_a_missing_or_foreign_manifest_is_bad_configuration(environment: Environment, tmp_path: Path) -> None:
    done = start("clean", environment, tmp_path)
    message = "bad configuration: environment variable WORKFLOW_MANIFEST is not set\n"
    assert (done.code, done.stderr) == (78, message)
    (tmp_path / "manifest.json").write_text('{"inputs": []}', encoding="utf-8")
    done = start("climatology", {**environment, "WORKFLOW_MANIFEST": str(tmp_path / "manifest.json")}, tmp_path)
    assert done.code == 78
    assert done.stderr.endswith("manifest.json does not follow the contract: KeyError('upstream')\n")


def test_an_hour_written_a_microsecond_early_counts_as_that_hour(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "RA-2004-03").mkdir()
    (tmp_path / "RA-2004-03" / "pwv.dat").write_text("53065.249999999995 1.0\n53065.9999999999 1.0\n")
    made = run(environment, "clean", tmp_path / "clean", inputs=[package(tmp_path / "RA-2004-03")])
    upstream = [made.as_upstream("clean", executed_obs_unit="RA-2004-03")]
    other = run(environment, "transmission", tmp_path / "transmission", upstream=upstream)
    upstream.append(other.as_upstream("transmission", instrument_module="RA"))
    done = run(environment, "climatology", tmp_path / "climatology", upstream=upstream)
    rows = table(done.output / "science" / "climatology.csv")
    filled = [(row["quantity"], row["bin"]) for row in rows if row["n_rows"] == "1"]
    assert filled == [("pwv_mm_by_hour", "00"), ("pwv_mm_by_hour", "06")]
    assert [row["n_rows"] for row in rows if row["bin"] == "03"] == ["2", "0"]


def test_five_years_in_one_package(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "RA").mkdir()
    rows = [f"{53000 + step / 65:.12f} {1.5 + math.sin(step / 300):.12f}" for step in range(120_000)]
    (tmp_path / "RA" / "pwv.dat").write_text("\n".join(rows) + "\n", encoding="utf-8")
    made = run(environment, "clean", tmp_path / "clean", inputs=[package(tmp_path / "RA")])
    assert (made.code, made.stderr) == (0, "")
    assert made.json("qa/clean.json")["n_rows"] == 120_000
    upstream = [made.as_upstream("clean", executed_obs_unit="RA")]
    other = run(environment, "transmission", tmp_path / "transmission", upstream=upstream)
    upstream.append(other.as_upstream("transmission", instrument_module="RA"))
    done = run(environment, "climatology", tmp_path / "climatology", upstream=upstream)
    assert done.json("statistics/climatology.json")["n_months"] == 62  # 2003-12 to 2009-01
    assert max(len(image) for image in plots(made, other, done)) <= 60_000


def test_pipeline_names_every_file_a_program_needs(environment: Environment, tmp_path: Path) -> None:
    assert [step["name"] for step in PIPELINE["steps"]] == ["clean", "transmission", "climatology"]
    (tmp_path / "output").mkdir()
    for software, step in zip(PIPELINE["software"], PIPELINE["steps"], strict=True):
        (version,) = software["versions"]
        assert (step["software"], step["version"]) == (software["name"], version["version"])
        place = tmp_path / software["name"]
        place.mkdir()
        for name in version["code"]:
            shutil.copy(HERE / name, place / name)
        assert version["command"][0] == "{python}"
        command = [sys.executable, str(place / version["command"][1])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == "bad configuration: environment variable WORKFLOW_MANIFEST is not set\n"


@pytest.mark.skipif(not REAL.is_dir(), reason="the published series are not next to the repository")
def test_published_series_equal_plain_python(environment: Environment, tmp_path: Path) -> None:
    real = run_chain(environment, catalogue(REAL, tmp_path / "catalogue", months=2), tmp_path)
    assert list(real.clean) == ["TA-2-2005-04", "TA-2-2005-06", "TB-1-2000-06", "TB-1-2000-07"]
    check_clean(real)
    check_transmission(real)
    check_climatology(real)
    check_statistics(real)
    assert max(len(image) for image in plots(*real.clean.values(), *real.transmission.values())) <= 60_000
