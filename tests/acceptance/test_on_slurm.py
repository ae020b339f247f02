"""Both examples on a real Slurm behind SSH, every step in a container: the same bytes as on this machine alone."""

import socket
import time
from collections.abc import Collection
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ccat_models.tables.execution import Attempt
from examples.chai.observe import observe
from examples.site_pwv.site_pwv_synthetic import synthesise
from tests.support.hands.operating import Observation, Operator
from tests.support.parts.apptainer import Image
from tests.support.parts.login_node import LoginNode
from tests.support.parts.science_image import science_image
from tests.support.parts.slurm_cluster import SlurmCluster

__all__ = ["science_image"]
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("slurm")]

REPOSITORY = Path(__file__).parents[2]
REAL_SERIES = REPOSITORY.parent / "shared" / "data" / "site-pwv"


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
    accounted = slurm.run("sacct", "-nPX", "-a", "-S", "now-1hour", "-o", "JobID,State").stdout
    return {job: state for job, _, state in (line.partition("|") for line in accounted.splitlines())}


def tasks_since(slurm: SlurmCluster, before: Collection[str], count: int) -> dict[str, str]:
    """Return the tasks that came after others, once so many have completed: accounts follow the jobs with a delay."""
    deadline = time.monotonic() + 60
    while True:
        new = {job: state for job, state in tasks(slurm).items() if job not in before}
        if list(new.values()).count("COMPLETED") >= count or time.monotonic() > deadline:
            return new
        time.sleep(0.5)


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
    ended = tasks_since(slurm_cluster, before, len(attempts))
    assert_each_ran_once_in_a_container(attempts, science_image, ended)

    assert away.ccat("publish") == {"published": len(attempts)}
    assert login_node.connections - connections <= 2
    assert sum(away.ccat("run", observed.pipeline, "--no-publish")["created"].values()) == 0
    assert {job for job in tasks(slurm_cluster) if job not in before} == set(ended)
    here.answer_for_products(observed.pipeline, tmp_path / "answers-here")
    away.answer_for_products(observed.pipeline, tmp_path / "answers-away")
