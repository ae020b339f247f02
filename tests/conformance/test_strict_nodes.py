"""A Slurm that keeps memory limits and whose nodes may refuse to begin a job."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ccat_models.tables.execution import FailureClass
from resources.ops_db import OpsDb
from tests.support.parts.apptainer import Image
from tests.support.parts.not_run import not_run
from tests.support.parts.ops_db import empty
from tests.support.parts.slurm_cluster import SlurmCluster
from tests.support.worlds.back_ends import SMALL, BackEndWorld

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("slurm")]

MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")  # version 1, as Slurm is configured for
MORE = {"factor": 8, "max_memory_gb": 2, "max_time_hours": 1}
PROLOG = """#!/bin/sh
[ ! -e {refusal} ]
"""


@dataclass(frozen=True)
class Strict:
    """A Slurm of one node that keeps jobs in cgroups, and whose prologue fails while a file is there."""

    slurm: SlurmCluster
    refusal: Path


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    folder = tmp_path_factory.mktemp("strict")
    prolog, refusal = folder / "prolog.sh", folder / "refuse"
    prolog.write_text(PROLOG.format(refusal=refusal))
    prolog.chmod(0o755)
    if not os.access(MEMORY_CGROUPS, os.W_OK):
        not_run("a Slurm with cgroups", f"as root, where {MEMORY_CGROUPS} may be written", installable=False)
    with SlurmCluster(nodes=1, cgroup=True, settings={"Prolog": str(prolog)}) as cluster:
        yield Strict(cluster, refusal)


@pytest.fixture
def strict_yard(
    strict: Strict, one_ops_db: OpsDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BackEndWorld]:
    empty(one_ops_db)
    monkeypatch.setenv("SLURM_CONF", strict.slurm.environment["SLURM_CONF"])
    opened = BackEndWorld.open(one_ops_db, tmp_path, strict.slurm)
    yield opened
    opened.close()


def test_out_of_memory_is_reported_and_the_next_attempt_has_more(
    strict_yard: BackEndWorld, image: Image | None
) -> None:
    strict_yard.work("take 300", image=image, resources=SMALL, escalation=MORE, retries={"out_of_memory": 1})
    assert strict_yard.until_ended() == {"COMPLETED": 1}
    first, second = strict_yard.attempts()
    assert first.failure_class is FailureClass.OUT_OF_MEMORY
    assert "killed by the kernel at the limit of " in str(first.failure_message)
    assert second.resources["memory_gb"] == pytest.approx(0.8)
    assert second.peak_memory_bytes is not None
    assert second.peak_memory_bytes > 300 << 20


def test_a_node_that_refuses_to_begin_is_reported_and_the_next_attempt_runs(
    strict: Strict, strict_yard: BackEndWorld
) -> None:
    strict.refusal.touch()
    strict_yard.work("fine", retries={"infrastructure": 1, "lost": 1})
    strict_yard.until(lambda: strict_yard.attempts()[0].failure_class is not None)
    first = strict_yard.attempts()[0]
    strict.refusal.unlink()
    strict.slurm.node_up("n1")
    assert strict_yard.until_ended() == {"COMPLETED": 1}
    assert first.failure_class is FailureClass.INFRASTRUCTURE
    assert first.evidence is not None
    found = (first.evidence["state"], first.evidence["node"])
    assert found == ("CANCELLED", "n1"), "Slurm says no more of a job that it may not requeue"
    assert str(first.failure_message).endswith("it never began")
