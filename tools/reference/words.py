"""The words and numbers that the system uses: settings, states, failures, reasons, exit codes."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ccat_assets.wiring.settings import OBSERVATORY_NAMES, OBSERVATORY_PREFIX, PREFIX, SECRETS, Settings
from ccat_models.contract.exit_codes import ExitStatus, exit_status
from ccat_models.contract.result import Result
from ccat_models.contract.values import DIRECTORY_TYPES
from ccat_models.gap.reasons import ACTIONABLE, MEANING, Reason
from ccat_models.run.remedies import REMEDIES
from ccat_models.run.retry import DEFAULT_BUDGETS, classify
from ccat_models.run.transitions import LEGAL_TRANSITIONS
from ccat_models.tables.execution import IN_FLIGHT, FailureClass, RunStatus
from tools.reference.markdown import Undocumented, code, documented, table

_DEFAULTS_OF_A_MACHINE = {
    "home": "`.ccat` in the checkout",
    "python": "the one that runs `ccat`",
    "local_slots": "number of CPUs",
    "user": "the account's name",
}


def settings_page() -> str:
    """Return every setting; raise Undocumented where one has no description."""
    missing: list[str] = []
    rows = []
    for name, field in Settings.model_fields.items():
        words = documented(field.description, f"setting {name}", missing) + ("; secret" if name in SECRETS else "")
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        words += f": {' or '.join(map(code, choices))}" if choices else ""
        rows.append((code(name), code(PREFIX + name.upper()), _setting_default(name, field), words))
    if missing:
        raise Undocumented(missing)
    return table(["setting", "environment", "default", "meaning"], rows)


def observatory_page() -> str:
    """Return the settings that may be given under the observatory's own names."""
    rows = ((code(OBSERVATORY_PREFIX + name.upper()), code(name)) for name in OBSERVATORY_NAMES)
    return table(["environment", "setting"], rows)


def _setting_default(name: str, field: FieldInfo) -> str:
    if name in _DEFAULTS_OF_A_MACHINE:
        return _DEFAULTS_OF_A_MACHINE[name]
    default = field.get_default(call_default_factory=True)
    return "" if default in (None, "", (), {}) else code(str(default))


def states_page(meanings: Mapping[str, str]) -> str:
    """Return the states of a run and where each may go; raise Undocumented where one has no meaning."""
    missing: list[str] = []
    rows = []
    for status in RunStatus:
        onward = [after.value for after in RunStatus if (status, after) in LEGAL_TRANSITIONS]
        words = documented(meanings.get(status.value), f"status {status.value}", missing)
        rows.append((code(status.value), words, "yes" if status in IN_FLIGHT else "", ", ".join(map(code, onward))))
    if missing:
        raise Undocumented(missing)
    return table(["status", "meaning", "in flight", "may become"], rows)


def failures_page() -> str:
    """Return the failure classes: what each means, how often it is tried again by default, what to do."""
    return table(
        ["class", "meaning", "tried again", "what to do"],
        (
            (code(failure.value), REMEDIES[failure].meaning, str(DEFAULT_BUDGETS[failure]), REMEDIES[failure].remedy)
            for failure in FailureClass
        ),
    )


def reasons_page() -> str:
    """Return the reasons of sub-groups and whether each asks for a run."""
    rows = ((code(reason.value), MEANING[reason], "yes" if reason in ACTIONABLE else "") for reason in Reason)
    return table(["reason", "meaning", "asks for a run"], rows)


def exit_codes_page() -> str:
    """Return what a program's exit code means and what becomes of the run."""
    rows = []
    for answer, codes in groupby(range(256), _answer):
        status, failure = answer
        budget = "within the step's budget" if status.retryable else ""
        rows.append((code(_span(codes)), status.meaning.value.replace("_", " "), code(failure), budget))
    return table(["exit code", "meaning", "failure class", "tried again"], rows)


def _answer(exit_code: int) -> tuple[ExitStatus, str]:
    ended: Any = {"outcome": "failed" if exit_code else "completed", "exit_code": exit_code, "message": ""}
    failure = classify(Result.model_construct(**ended))
    return exit_status(exit_code), failure[0].value if failure else ""


def _span(codes: Iterable[int]) -> str:
    first, *others = codes
    return f"{first}-{others[-1]}" if others else str(first)


def directories_page() -> str:
    """Return the directories that a program may write into, and the product type of the files there."""
    rows = ((code(f"{directory}/"), code(kind)) for directory, kind in DIRECTORY_TYPES.items())
    return table(["directory", "product type"], [*rows, ("anywhere else", "`intermediate`, with a warning")])
