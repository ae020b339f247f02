from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from ccat_models.contract.exit_codes import ExitMeaning, exit_status
from ccat_models.contract.result import Result
from ccat_models.tables.execution import FailureClass

DEFAULT_BUDGETS: Mapping[FailureClass, int] = {
    FailureClass.INFRASTRUCTURE: 3,
    FailureClass.SCIENCE: 1,
    FailureClass.TIMEOUT: 1,
    FailureClass.OUT_OF_MEMORY: 1,
    FailureClass.COLLECTION: 2,
    FailureClass.STAGING: 3,
    FailureClass.LOST: 2,
    FailureClass.PERMANENT: 0,
}
_OUTCOMES: Mapping[str, tuple[FailureClass, str]] = {
    "timeout": (FailureClass.TIMEOUT, "the time limit was reached"),
    "cancelled": (FailureClass.INFRASTRUCTURE, "the job was ended from outside"),
    "launch_failed": (FailureClass.INFRASTRUCTURE, "the program could not be started"),
    "out_of_memory": (FailureClass.OUT_OF_MEMORY, "the memory limit was reached"),
}
_EXITS = {ExitMeaning.TEMPORARY: FailureClass.INFRASTRUCTURE, ExitMeaning.SCIENCE: FailureClass.SCIENCE}
_BACKED_OFF = (FailureClass.INFRASTRUCTURE, FailureClass.STAGING, FailureClass.LOST, FailureClass.COLLECTION)


def classify(result: Result) -> tuple[FailureClass, str] | None:
    """Return the failure class and message of an attempt's result, None for success.

    A cancelled attempt counts as an infrastructure failure; the caller must know whether its cancellation was
    requested.
    """
    if result.outcome == "completed":
        return None
    if result.outcome in _OUTCOMES:
        failure, message = _OUTCOMES[result.outcome]
        return failure, result.message or message
    if result.exit_code is None or result.exit_code == 0:
        return FailureClass.SCIENCE, result.message or f"ended by signal {result.signal}"
    meaning = exit_status(result.exit_code).meaning
    message = f"exit code {result.exit_code} ({meaning.value.replace('_', ' ')})"
    explanation = result.message.removeprefix(f"exit code {result.exit_code}")
    return _EXITS.get(meaning, FailureClass.PERMANENT), message + (explanation if explanation.startswith(": ") else "")


def may_retry(failure: FailureClass, past: Iterable[FailureClass | None], budgets: Mapping[str, Any]) -> bool:
    """Say whether the class's budget allows another attempt; `past` holds all failures, the present one included."""
    budget = int(budgets.get(failure.value, DEFAULT_BUDGETS[failure]))
    return Counter(past)[failure] <= budget


def delay(failure: FailureClass, failures: int) -> timedelta:
    """Return the wait before the next attempt: none after the program's own failures, else 1, 2, 4, … up to 300 s."""
    return timedelta(seconds=min(2 ** (failures - 1), 300)) if failure in _BACKED_OFF else timedelta(0)


def escalate(
    failure: FailureClass, resources: Mapping[str, Any], escalation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the next attempt's resources: more time after a time-out, more memory after a lack of memory."""
    raised = dict(resources)
    key = {FailureClass.TIMEOUT: "time_hours", FailureClass.OUT_OF_MEMORY: "memory_gb"}.get(failure)
    if key is None or not escalation:
        return raised
    limit = escalation.get(f"max_{key}")
    wanted = raised[key] * float(escalation["factor"])
    raised[key] = wanted if limit is None else max(min(wanted, limit), raised[key])
    return raised
