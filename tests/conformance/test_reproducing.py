"""Products can be verified on disk and reproduced, whichever back end runs them."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ccat_models.product.copies import Selection
from ccat_models.tables.base import RunId
from ccat_models.tables.execution import Attempt, AttemptState, Purpose
from resources.product.reproduction import Reproducer
from resources.product.verification import Finding, Verification
from tests.support.parts.apptainer import Image
from tests.support.worlds.back_ends import BackEndWorld, output_of

pytestmark = pytest.mark.slow

EVERYTHING = Selection(pipeline="letters")
FIRST, SECOND = RunId(1), RunId(2)


def executing(yard: BackEndWorld) -> list[Attempt]:
    """Return the attempts that have executed runs, and not reproduced them."""
    return [attempt for attempt in yard.attempts() if attempt.purpose is Purpose.EXECUTE]


def reproduced(yard: BackEndWorld) -> list[dict[str, str]]:
    """Return what became of each run's files, after nothing but them has changed."""
    found = Reproducer(yard.another_process(), 0.2).reproduce([FIRST, SECOND])
    for run in found:
        assert run.now is not None
        assert run.recorded is not None
        assert (run.now.image_sha256, run.now.runtime) == (run.recorded.image_sha256, run.recorded.runtime)
    assert len(executing(yard)) == 2
    again = [attempt for attempt in yard.attempts() if attempt.purpose is Purpose.REPRODUCE]
    assert [(one.state, one.failure_class, one.number) for one in again] == [(AttemptState.ENDED, None, -1)] * 2
    if yard.slurm is not None:
        assert yard.queue() == {}
    return [{file.path: file.finding.value for file in run.files} for run in found]


def test_products_are_verified_and_reproduced(yard: BackEndWorld) -> None:
    yard.work("fine", "fine too")
    assert yard.until_ended() == {"COMPLETED": 2}
    verification = Verification(yard.cluster)
    found = [*verification.raw(EVERYTHING), *verification.products(EVERYTHING)]
    assert [one.finding for one in found] == [Finding.OK] * 8
    for files in reproduced(yard):
        # A plain process sees in its environment where it is.
        environment = {"logs/environment.json": "differs"}
        assert files == {"qa/numbers.json": "identical", "science/text.txt": "identical"} | environment


@pytest.mark.real
@pytest.mark.xdist_group("slurm")
def test_in_a_container_products_are_reproduced(yard_on_slurm: BackEndWorld, apptainer_image: Image) -> None:
    yard_on_slurm.work("fine", "fine too", image=apptainer_image)
    assert yard_on_slurm.until_ended() == {"COMPLETED": 2}
    for files in reproduced(yard_on_slurm):
        assert (files["qa/numbers.json"], files["science/text.txt"]) == ("identical", "identical")


@dataclass
class _Interrupted:
    """A sleep that is interrupted by Ctrl-C once the second execution of a program has begun."""

    scratch: Path

    def __call__(self, seconds: float) -> None:
        if list(self.scratch.glob("*/letters/*/*/*/*/output/logs/environment.json")):
            raise KeyboardInterrupt
        time.sleep(seconds)


def test_an_interruption_ends_the_job(slurm_yard: BackEndWorld) -> None:
    slurm_yard.work("sleep 2")
    assert slurm_yard.until_ended() == {"COMPLETED": 1}
    scratch, (attempt,) = slurm_yard.cluster.base / ".reproduce", slurm_yard.attempts()
    before = sorted(path.lstat().st_mtime_ns for path in output_of(attempt).rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        Reproducer(slurm_yard.cluster, 0.2, sleep=_Interrupted(scratch)).reproduce([FIRST])
    assert list(scratch.iterdir()) == []
    assert sorted(path.lstat().st_mtime_ns for path in output_of(attempt).rglob("*")) == before
    assert slurm_yard.queue() == {}
