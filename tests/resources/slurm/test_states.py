import logging

import pytest

from ccat_models.tables.execution import FailureClass
from resources.backend import JobState
from resources.slurm.states import SHORT_CODES, STATES, ending, full_state, job_state, never_runs

# job_state_codes.html of 22.05 to 24.11 (base states, then flags), slurm.h of 25.11 (EXPEDITING)
DOCUMENTED = """
BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING SUSPENDED TIMEOUT
COMPLETING CONFIGURING EXPEDITING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING
RESV_DEL_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED UPDATE_DB
"""


def test_every_documented_state_has_a_meaning() -> None:
    assert sorted(STATES) == sorted(DOCUMENTED.split())
    assert set(SHORT_CODES.values()) <= set(STATES)


def test_what_has_ended_has_a_failure_class_and_nothing_else_has() -> None:
    assert all((state is JobState.ENDED) == (failure is not None) for state, failure in STATES.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CANCELLED by 1000", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("OUT_OF_ME+", "OUT_OF_MEMORY"),
        ("REQUEUE+", "REQUEUE+"),
        ("CA", "CANCELLED"),
        ("OOM", "OUT_OF_MEMORY"),
        ("R", "RUNNING"),
        ("", ""),
    ],
)
def test_a_state_is_known_in_all_its_spellings(text: str, expected: str) -> None:
    assert full_state(text) == expected


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("TIMEOUT", FailureClass.TIMEOUT),
        ("DEADLINE", FailureClass.TIMEOUT),
        ("OUT_OF_MEMORY", FailureClass.OUT_OF_MEMORY),
        ("NODE_FAIL", FailureClass.INFRASTRUCTURE),
        ("PREEMPTED", FailureClass.INFRASTRUCTURE),
        ("BOOT_FAIL", FailureClass.INFRASTRUCTURE),
        ("LAUNCH_FAILED", FailureClass.INFRASTRUCTURE),
        ("RECONFIG_FAIL", FailureClass.INFRASTRUCTURE),
        ("CANCELLED by 0", FailureClass.INFRASTRUCTURE),
        ("COMPLETED", FailureClass.LOST),
        ("FAILED", FailureClass.LOST),
    ],
)
def test_an_end_is_sorted_by_what_to_do_next(text: str, failure: FailureClass) -> None:
    assert job_state(text) == (JobState.ENDED, failure)


def test_an_undocumented_state_is_unknown_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert job_state("QUANTUM") == (JobState.UNKNOWN, None)
    assert "'QUANTUM'" in caplog.text


@pytest.mark.parametrize(
    "reason",
    ["BadConstraints", "PartitionTimeLimit", "InvalidQOS", "AssocMaxCpuPerJobLimit", "QOSMaxWallDurationPerJobLimit"],
)
def test_a_job_that_asks_for_too_much_will_never_run(reason: str) -> None:
    assert never_runs(reason) is FailureClass.PERMANENT


@pytest.mark.parametrize("reason", ["launch failed requeued held", "(launch failed requeued held)"])
def test_a_job_that_could_not_be_launched_will_never_run_there(reason: str) -> None:
    assert never_runs(reason) is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "None",
        "Resources",
        "Priority",
        "JobHeldUser",
        "JobHeldAdmin",
        "PartitionNodeLimit",
        "ReqNodeNotAvail, UnavailableNodes:n1",
        "AssocMaxJobsLimit",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxCpuPerUserLimit",
        "AssocGrpCpuLimit",
    ],
)
def test_a_job_waits_for_what_may_change(reason: str) -> None:
    assert never_runs(reason) is None


def test_an_end_is_reported_in_slurms_own_words() -> None:
    end = ending("TIMEOUT", {"state": "TIMEOUT", "exit_code": "0:0", "node": "n1"})
    assert end is not None
    assert end.message == "Slurm: TIMEOUT (exit_code 0:0, node n1)"
    assert ending("RUNNING", {}) is None
