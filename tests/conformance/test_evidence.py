"""What Slurm says of a job that ended badly, or waits, is in its attempt's row."""

import json
import os
import signal
from datetime import timedelta

import pytest

from ccat_models.tables.execution import Attempt, AttemptState
from tests.support.worlds.back_ends import SMALL, BackEndWorld, await_end, output_of

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("slurm")]


def failure(attempt: Attempt) -> tuple[str, dict[str, str]]:
    """Return class and evidence of an attempt that failed."""
    assert attempt.failure_class is not None
    assert attempt.evidence is not None
    return attempt.failure_class.value, attempt.evidence


def test_a_job_that_was_cancelled_from_outside_says_so_and_is_tried_again(yard_on_slurm: BackEndWorld) -> None:
    slurm = yard_on_slurm.slurm
    assert slurm is not None
    yard_on_slurm.work("sleep 300 first", retries={"infrastructure": 1})
    yard_on_slurm.until_up(1)
    slurm.run("scancel", str(yard_on_slurm.attempts()[0].job_id))
    assert yard_on_slurm.until_ended() == {"COMPLETED": 1}
    first, second = yard_on_slurm.attempts()
    kind, evidence = failure(first)
    assert kind == "infrastructure"
    assert evidence["state"].startswith("CANCELLED")
    assert evidence["node"] in ("n1", "n2")
    assert second.failure_class is None


def test_a_lost_node_is_named_and_the_next_attempt_runs_elsewhere(yard_on_slurm: BackEndWorld) -> None:
    slurm = yard_on_slurm.slurm
    assert slurm is not None
    yard_on_slurm.work("sleep 300 first", retries={"infrastructure": 1, "lost": 1})
    yard_on_slurm.until_up(1)
    [attempt] = yard_on_slurm.attempts()
    node = slurm.run("squeue", "-h", "-j", str(attempt.job_id), "-o", "%N").stdout.strip()
    slurm.node_down(node)
    try:
        assert yard_on_slurm.until_ended() == {"COMPLETED": 1}
    finally:
        slurm.node_up(node)
    first = yard_on_slurm.attempts()[0]
    kind, evidence = failure(first)
    assert (kind, evidence["state"], evidence["node"]) == ("infrastructure", "NODE_FAIL", node)
    await_end(first)


def test_a_wrapper_that_was_killed_leaves_its_exit_code_with_slurm(yard_on_slurm: BackEndWorld) -> None:
    yard_on_slurm.patient(lost_after=15)  # the accounts come later, beside other work some seconds
    yard_on_slurm.work("sleep 300")
    yard_on_slurm.until_up(1)
    [attempt] = yard_on_slurm.attempts()
    owner = json.loads((output_of(attempt).parent / "claim" / "owner.json").read_text())
    os.kill(owner["pid"], signal.SIGKILL)
    assert yard_on_slurm.until_ended() == {"FAILED": 1}
    [attempt] = yard_on_slurm.attempts()
    kind, evidence = failure(attempt)
    assert kind == "lost"
    assert evidence["state"] == "FAILED"
    assert evidence["exit_code"] == "0:9"
    assert evidence["node"] in ("n1", "n2")
    assert "it had begun" in str(attempt.failure_message)
    await_end(attempt)


def test_a_held_job_waits_and_says_why(yard_on_slurm: BackEndWorld) -> None:
    slurm = yard_on_slurm.slurm
    assert slurm is not None
    crowded = SMALL | {"cpus": 8, "slurm": {"nodelist": "n1"}}
    yard_on_slurm.work("sleep 300", "fine", resources=crowded)
    yard_on_slurm.until_up(1)
    [waiting] = [attempt for attempt in yard_on_slurm.attempts() if attempt.state is AttemptState.SENT]
    slurm.run("scontrol", "hold", str(waiting.job_id))
    yard_on_slurm.until(lambda: {"waits": "JobHeldAdmin"} in [attempt.evidence for attempt in yard_on_slurm.attempts()])
    slurm.run("scontrol", "release", str(waiting.job_id))
    yard_on_slurm.cancel(next(attempt.run_id for attempt in yard_on_slurm.attempts() if attempt.id != waiting.id))
    assert yard_on_slurm.until_ended() == {"COMPLETED": 1, "CANCELLED": 1}


def test_a_job_that_would_never_run_fails_for_good(yard_on_slurm: BackEndWorld) -> None:
    never = SMALL | {"time_hours": 1, "slurm": {"partition": "short"}}
    yard_on_slurm.work("fine", resources=never, retries={"infrastructure": 3, "lost": 3})
    assert yard_on_slurm.until_ended() == {"FAILED": 1}
    [attempt] = yard_on_slurm.attempts()
    kind, evidence = failure(attempt)
    assert (kind, evidence["reason"]) == ("permanent", "PartitionTimeLimit")
    assert yard_on_slurm.queue() == {}


@pytest.mark.slow
def test_a_time_limit_that_slurm_kept_is_a_time_limit(yard_on_slurm: BackEndWorld) -> None:
    slurm = yard_on_slurm.slurm
    assert slurm is not None
    yard_on_slurm.work("sleep 300")
    yard_on_slurm.until_up(1)
    [attempt] = yard_on_slurm.attempts()
    soon = yard_on_slurm.cluster.clock().astimezone() + timedelta(seconds=2)  # a limit is of whole minutes, an end not
    slurm.run("scontrol", "update", f"jobid={attempt.job_id}", f"EndTime={soon:%Y-%m-%dT%H:%M:%S}")
    yard_on_slurm.until(lambda: not yard_on_slurm.works.in_flight(), patience_seconds=240)
    kind, evidence = failure(yard_on_slurm.attempts()[0])
    assert (kind, evidence["state"]) == ("timeout", "TIMEOUT")
