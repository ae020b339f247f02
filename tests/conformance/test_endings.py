"""How a program ends decides what is tried next, whichever back end reports it."""

import pytest

from tests.support.parts.apptainer import Image
from tests.support.worlds.back_ends import SMALL, BackEndWorld

pytestmark = pytest.mark.slow

ENDS = {
    "fine": (None, 0, None),
    "exit 3": ("science", 3, "exit code 3 (science): leaving with 3"),
    "exit 65": ("permanent", 65, "exit code 65 (bad data): leaving with 65"),
    "exit 75": ("infrastructure", 75, "exit code 75 (temporary): leaving with 75"),
    "exit 78": ("permanent", 78, "exit code 78 (bad configuration): leaving with 78"),
    "signal SIGKILL": ("science", None, "killed by signal 9"),
}


def test_each_end_has_its_class(yard: BackEndWorld, image: Image | None) -> None:
    yard.work(*ENDS, image=image)
    assert yard.until_ended() == {"COMPLETED": 1, "FAILED": 5}
    found = [
        (attempt.failure_class and attempt.failure_class.value, attempt.exit_code, attempt.failure_message)
        for attempt in yard.attempts()
    ]
    assert dict(zip(ENDS, found, strict=True)) == ENDS
    assert yard.products(2) == {}


def test_a_failure_that_may_pass_is_tried_again_and_a_permanent_one_is_not(yard: BackEndWorld) -> None:
    yard.work("exit 3 first", "exit 75 first", "exit 65 first", retries={"science": 1, "infrastructure": 1})
    assert yard.until_ended() == {"COMPLETED": 2, "FAILED": 1}
    tries = sorted((attempt.run_id, attempt.number) for attempt in yard.attempts())
    assert tries == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]


def test_a_time_limit_ends_the_program_and_the_next_attempt_has_more_time(
    yard: BackEndWorld, image: Image | None
) -> None:
    short = SMALL | {"time_hours": 1 / 3600}
    more = {"factor": 30, "max_time_hours": 1, "max_memory_gb": 1}
    yard.work("sleep 2", image=image, resources=short, escalation=more, retries={"timeout": 1})
    assert yard.until_ended() == {"COMPLETED": 1}
    first, second = yard.attempts()
    assert first.failure_class is not None
    assert (first.failure_class.value, first.failure_message) == ("timeout", "stopped at its time limit of 1 s")
    assert first.evidence is not None
    assert first.evidence["outcome"] == "timeout"
    assert second.resources["time_hours"] == pytest.approx(30 / 3600)
    assert second.failure_class is None
