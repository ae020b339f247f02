"""The real program on real months: what an operator does from the first ingest to the lineage of a climatology."""

import json
import os
import random
import signal
import subprocess  # noqa: TID251 - tests start real programs
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.site_pwv.site_pwv_synthetic import synthesise

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
REAL_SERIES = REPOSITORY.parent / "shared" / "data" / "site-pwv"
PIPELINE = REPOSITORY / "examples" / "site_pwv" / "pipeline.yaml"
CCAT = Path(sys.executable).with_name("ccat")
RUN = ("run", "site-pwv", "--no-publish", "--json")


@dataclass(frozen=True)
class Series:
    """A folder of series, the last of its first three months, and the month after."""

    folder: Path
    radiometer: str
    first: tuple[str, str, str]
    next: str


@dataclass(frozen=True)
class Operator:
    """A user who types commands, with a CCAT_HOME of their own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
        return kept | {"CCAT_HOME": str(self.home), "CCAT_POLL_SECONDS": "0.05", "CCAT_LEASE_SECONDS": "2"}

    def ccat(self, *words: str | Path) -> Any:
        """Type a command that must succeed; return its output, parsed as JSON."""
        done = subprocess.run(
            [CCAT, *words, "--json"], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def prepare(self, series: Series) -> None:
        """Set up, let three months arrive and declare the pipeline."""
        self.ccat("init")
        assert self.ingest(series, series.first[-1])["added"] == 3
        self.ccat("pipeline", "apply", PIPELINE)

    def ingest(self, series: Series, until: str) -> Any:
        """Let the months up to this one arrive."""
        return self.ccat("ingest", series.folder, "--example", "site-pwv", "--until", until)

    def killed_after(self, seconds: float) -> bool:
        """Run the pipeline and kill it without warning; say whether it was still there."""
        with subprocess.Popen([CCAT, *RUN], env=self.environment, stdout=subprocess.DEVNULL) as running:
            try:
                running.wait(seconds)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
        return running.returncode == -signal.SIGKILL

    def attempts(self) -> list[str]:
        """Return the runs' steps, each as often as it has a directory of an attempt."""
        jobs = self.home.joinpath("workspace").rglob("manifest.json")
        return sorted(json.loads(job.read_text())["step"]["name"] for job in jobs)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Give measured months where they are at hand, made-up ones elsewhere."""
    if REAL_SERIES.is_dir():
        return Series(REAL_SERIES, "TB-1", ("2000-06", "2000-07", "2000-08"), "2000-12")
    return made_up(tmp_path_factory.mktemp("series"))


def made_up(folder: Path) -> Series:
    synthesise(folder, days=120)
    return Series(folder, "DEMO", ("2026-01", "2026-02", "2026-03"), "2026-04")


def test_months_arrive_and_only_what_they_touch_is_run(tmp_path: Path, series: Series) -> None:
    operator = Operator(tmp_path / "home")
    operator.prepare(series)
    assert operator.ccat(*RUN)["created"] == {"clean": 3, "transmission": 1, "climatology": 1}

    assert operator.ingest(series, series.first[-1]) == {"added": 0, "changed": 0, "withdrawn": 0, "unchanged": 3}
    again = operator.ccat(*RUN)
    assert sum(again["created"].values()) == 0
    assert again["now"] == {
        "clean": {"up_to_date": 3},
        "transmission": {"up_to_date": 1},
        "climatology": {"up_to_date": 1},
    }

    assert operator.ingest(series, series.next)["added"] == 1
    why = operator.ccat("why", "site-pwv", "clean", f"executed_obs_unit={series.radiometer}-{series.next}")
    assert (why["reason"], why["will_run"]) == ("missing", True)
    assert operator.ccat(*RUN)["created"] == {"clean": 1, "transmission": 1, "climatology": 1}
    lineage = operator.ccat("lineage", "site-pwv/climatology/all")
    assert read_by(lineage) == [f"{series.radiometer}-{month}" for month in (*series.first, series.next)]
    assert len(lineage["runs"]) == 6
    assert {product["type"] for product in lineage["products"]} >= {"science", "plot", "qa_metric"}


def test_a_tainted_month_is_left_out_of_all_that_used_it_and_comes_back(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "home")
    operator.prepare(made_up(tmp_path / "series"))
    assert operator.ccat(*RUN)["created"] == {"clean": 3, "transmission": 1, "climatology": 1}
    before = [run["id"] for run in operator.ccat("runs")]
    touched = operator.ccat("taint", "DEMO-2026-02", "--reason", "window was frosted")["touched"]
    assert {one["step"]: one["runs"] for one in touched} == {"clean": 1, "transmission": 1, "climatology": 1}

    assert operator.ccat(*RUN)["created"] == {"clean": 0, "transmission": 1, "climatology": 1}
    lineage = operator.ccat("lineage", "site-pwv/climatology/all")
    assert read_by(lineage) == ["DEMO-2026-01", "DEMO-2026-03"]
    new = {run["step"]: run["id"] for run in operator.ccat("runs") if run["id"] not in before}
    assert set(new) == {"transmission", "climatology"}

    operator.ccat("taint", "DEMO-2026-02", "--lift")
    assert sum(operator.ccat(*RUN)["created"].values()) == 0, "what there was counts again"


def read_by(lineage: Any) -> list[str]:
    """Return the names of the packages of a lineage."""
    return sorted(package["name"] for read in lineage["packages"].values() for package in read)


def test_a_run_that_is_killed_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "home")
    operator.prepare(made_up(tmp_path / "series"))
    chance = random.Random(20260401)
    started = time.monotonic()
    operator.ccat("plan", "site-pwv")
    unit = time.monotonic() - started  # a command that runs nothing takes so long on this machine
    killed = [operator.killed_after(unit * chance.uniform(0.8, 1.8)) for _ in range(3)]
    assert any(killed)

    assert set(operator.ccat(*RUN)["now"]) == {"clean", "transmission", "climatology"}
    runs = operator.ccat("runs")
    assert sorted(run["step"] for run in runs) == ["clean"] * 3 + ["climatology", "transmission"]
    assert {(run["status"], run["attempts"]) for run in runs} == {("COMPLETED", 1)}
    assert operator.attempts() == ["clean"] * 3 + ["climatology", "transmission"]
    lineage = operator.ccat("lineage", "site-pwv/climatology/all")
    assert len({package["name"] for read in lineage["packages"].values() for package in read}) == 3
