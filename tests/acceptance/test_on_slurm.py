"""Both examples on a real Slurm behind SSH, every step in a container: the same bytes as on this machine alone."""

import json
import os
import socket
import subprocess  # noqa: TID251 - tests start real programs
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ruamel.yaml import YAML

from ccat_models.tables.execution import Attempt
from examples.chai.observe import observe
from examples.site_pwv.site_pwv_synthetic import synthesise
from resources.ops_db import OpsDb
from tests.support.apptainer import Image
from tests.support.login_node import LoginNode
from tests.support.provenance_checks import assert_products_answer
from tests.support.science_image import science_image
from tests.support.slurm_cluster import SlurmCluster

__all__ = ["science_image"]
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("slurm")]

REPOSITORY = Path(__file__).parents[2]
REAL_SERIES = REPOSITORY.parent / "shared" / "data" / "site-pwv"
CCAT = Path(sys.executable).with_name("ccat")
COMPARED = ("science", "qa_metric", "statistics", "plot")
IMPATIENT = {
    "POLL_SECONDS": "0.2",
    "OBSERVE_SECONDS": "0.5",
    "LOST_AFTER_SECONDS": "5",
    "RESEND_AFTER_SECONDS": "2",
    "ALIVE_SECONDS": "5",
    "LOCAL_SLOTS": "2",
}


@dataclass(frozen=True)
class Observation:
    """Raw data of one example, and what is typed to let them arrive."""

    pipeline: str
    example: str
    ingest: tuple[str | Path, ...]
    created: Mapping[str, int]


@dataclass(frozen=True)
class Operator:
    """Somebody who types commands with a CCAT_HOME and settings of their own."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def ccat(self, *words: str | Path) -> Any:
        """Type a command that must end well; return what it said, read as JSON."""
        return json.loads(self.say(*words, "--json"))

    def say(self, *words: str | Path) -> str:
        """Type a command that must end well; return what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CCAT_", "DAGSTER_"))}  # noqa: TID251
        chosen = {f"CCAT_{name}": value for name, value in {**IMPATIENT, **self.settings}.items()}
        done = subprocess.run(
            [CCAT, *words],
            env={**kept, **chosen, "CCAT_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answer_for_products(self, pipeline: str, scratch: Path) -> None:
        """Let every product of the pipeline tell where it comes from, and be made a second time."""

        def ccat(*words: str | Path) -> Any:
            said = self.say(*words)
            return json.loads(said) if "--json" in words else said

        assert_products_answer(ccat, self.home / "ops.sqlite", pipeline, scratch)

    def work(self, observed: Observation, declaration: Path) -> Any:
        """Let the data arrive, declare the pipeline and run all of it."""
        self.ccat("init")
        self.ccat("ingest", *observed.ingest)
        self.ccat("pipeline", "apply", declaration)
        return self.ccat("run", observed.pipeline, "--no-publish")

    def products(self, pipeline: str) -> dict[tuple[str, str, str], str]:
        """Return the checksums of the products by step, sub-group and path."""
        rows = self.ccat("products", pipeline, "--limit", "1000")
        return {(row["step"], row["sub_group"], row["path"]): row["sha256"] for row in rows if row["type"] in COMPARED}

    def attempts(self) -> list[Attempt]:
        """Return all attempts that ops-db knows."""
        database = OpsDb(f"sqlite:///{self.home / 'ops.sqlite'}")
        with database.read() as session:
            found = list(session.scalars(sa.select(Attempt).order_by(Attempt.id)))
        database.close()
        return found


@pytest.fixture(params=["chai", "site_pwv"])
def observed(request: pytest.FixtureRequest, tmp_path: Path) -> Observation:
    """Give two scans of NGC 253, or three months of a radiometer: measured ones where they are at hand."""
    if request.param == "chai":
        created = {"calibrate": 2, "baseline": 2, "map": 1}
        observe(tmp_path / "scans", scans=2)
        return Observation("chai-ngc253", "chai", (tmp_path / "scans",), created)
    created = {"clean": 3, "transmission": 1, "climatology": 1}
    if REAL_SERIES.is_dir():
        folder, until = REAL_SERIES, "2000-08"
    else:
        folder, until = tmp_path / "series", "2026-03"
        synthesise(folder, days=120)
    return Observation("site-pwv", "site_pwv", (folder, "--example", "site-pwv", "--until", until), created)


def contained(example: str, image: Image, folder: Path) -> Path:
    """Declare an example's pipeline with the same code in a container."""
    yaml = YAML(typ="safe")
    original = REPOSITORY / "examples" / example
    declared = yaml.load(original / "pipeline.yaml")
    for software in declared["software"]:
        for version in software["versions"]:
            version |= {"image": str(image.path), "sha256": image.sha256, "code_directory": str(original)}
    path = folder / "pipeline.yaml"
    yaml.dump(declared, path)
    return path


def behind(node: LoginNode, disk: Path) -> dict[str, str]:
    """Return the settings of a cluster behind a login node."""
    return {
        "HPC_BACKEND": "slurm",
        "PIPELINE_BASE_DIR": str(disk / "workspace"),
        "SIF_CACHE_DIR": str(disk / "sif"),
        "SLURM_PARTITION": "debug",
        "SSH_HOST": node.host,
        "SSH_PORT": str(node.port),
        "SSH_USER": node.user,
        "SSH_KEY_FILE": str(node.client_key),
        "SSH_KNOWN_HOSTS": str(node.known_hosts),
    }


def tasks(slurm: SlurmCluster) -> dict[str, str]:
    """Return the state of every task that Slurm's accounting knows, by its job's id."""
    told = slurm.run("sacct", "-nPX", "-a", "-S", "now-1hour", "-o", "JobID,State").stdout
    return {job: state for job, _, state in (line.partition("|") for line in told.splitlines())}


def assert_each_ran_once_in_a_container(attempts: list[Attempt], image: Image, accounted: dict[str, str]) -> None:
    assert {(one.runtime, one.image_sha256) for one in attempts} == {("apptainer", image.sha256)}
    assert all("apptainer" in (one.command or [""])[0] for one in attempts)
    assert {(one.backend, one.host) for one in attempts} == {("slurm", socket.gethostname())}
    assert accounted == {str(one.job_id): "COMPLETED" for one in attempts}


def test_the_same_products_come_from_containers_on_a_cluster_behind_ssh(
    observed: Observation, science_image: Image, login_node: LoginNode, slurm_cluster: SlurmCluster, tmp_path: Path
) -> None:
    here = Operator(tmp_path / "here")
    done = here.work(observed, REPOSITORY / "examples" / observed.example / "pipeline.yaml")
    assert done["created"] == observed.created
    assert {one.runtime for one in here.attempts()} == {"process"}

    before, connections = tasks(slurm_cluster), login_node.connections
    away = Operator(tmp_path / "away", behind(login_node, tmp_path / "disk"))
    assert away.work(observed, contained(observed.example, science_image, tmp_path))["created"] == observed.created
    assert login_node.connections - connections <= 1

    expected, found = here.products(observed.pipeline), away.products(observed.pipeline)
    assert found == expected
    assert {step for step, _, _ in found} == set(observed.created)

    attempts = away.attempts()
    assert len(attempts) == sum(observed.created.values())
    ended = {job: state for job, state in tasks(slurm_cluster).items() if job not in before}
    assert_each_ran_once_in_a_container(attempts, science_image, ended)

    assert away.ccat("publish") == {"published": len(attempts)}
    assert login_node.connections - connections <= 2
    assert sum(away.ccat("run", observed.pipeline, "--no-publish")["created"].values()) == 0
    assert {job for job in tasks(slurm_cluster) if job not in before} == set(ended)
    here.answer_for_products(observed.pipeline, tmp_path / "answers-here")
    away.answer_for_products(observed.pipeline, tmp_path / "answers-away")
