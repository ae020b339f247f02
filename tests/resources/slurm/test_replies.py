from pathlib import Path

import pytest

from resources.errors import (
    ResourceError,
    SubmissionDoubtful,
    SubmissionPostponed,
    SubmissionRefused,
    SubmissionTooLarge,
)
from resources.shell.port import Completed
from resources.slurm.replies import submitted_id

RECORDED = (Path(__file__).parent / "goldens" / "slurm-22.05" / "sbatch-refused.txt").read_text()
UNABLE = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def error_of(stderr: str, exit_code: int = 1) -> type[ResourceError]:
    with pytest.raises(ResourceError) as caught:
        submitted_id("b", Completed(exit_code, "", stderr + "\n"))
    return caught.type


def test_an_id_is_an_id() -> None:
    assert submitted_id("b", Completed(0, "123;ccattest\n", "sbatch: some advice\n")) == "123"


@pytest.mark.parametrize("recorded", RECORDED.split("## ")[1:], ids=lambda text: text.split("\n")[0])
def test_what_slurm_was_seen_to_refuse_is_refused(recorded: str) -> None:
    assert error_of(recorded.partition("\n")[2]) is SubmissionRefused


@pytest.mark.parametrize(
    "stderr",
    [
        POLICY,
        f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}",
    ],
)
def test_what_fewer_jobs_might_pass_is_too_large(stderr: str) -> None:
    assert error_of(stderr) is SubmissionTooLarge


@pytest.mark.parametrize(
    "stderr",
    [
        f"{FAILED}Required partition not available (inactive or drain)",
        f"{FAILED}System submissions disabled",
        f"{UNABLE}\n{FAILED}Resource temporarily unavailable",
        "timeout: failed to run command 'sbatch': No such file or directory",
    ],
)
def test_what_will_pass_is_postponed(stderr: str) -> None:
    assert error_of(stderr) is SubmissionPostponed


def test_a_limit_of_one_job_will_not_pass() -> None:
    assert error_of(f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}") is SubmissionRefused


@pytest.mark.parametrize(
    "stderr",
    [
        f"{FAILED}Socket timed out on send/recv operation",
        f"{FAILED}Unable to contact slurm controller (connect failure)",
        f"{FAILED}Zero Bytes were transmitted or received",
        f"{FAILED}Unspecified error",
        "Segmentation fault",
        "",
        f"{UNABLE}\n{FAILED}Socket timed out",
    ],
)
def test_whatever_may_have_been_accepted_is_doubtful(stderr: str) -> None:
    assert error_of(stderr) is SubmissionDoubtful


@pytest.mark.parametrize("exit_code", [124, 137, 143])
def test_a_sending_that_was_broken_off_is_doubtful_whatever_it_said(exit_code: int) -> None:
    assert error_of(UNABLE, exit_code) is SubmissionDoubtful


@pytest.mark.parametrize("stdout", ["", "garbled", "Submitted batch job 12\n"])
def test_success_without_an_id_is_doubtful(stdout: str) -> None:
    with pytest.raises(SubmissionDoubtful, match="not a job id"):
        submitted_id("b", Completed(0, stdout, ""))
