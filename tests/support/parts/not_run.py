import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

MARK = "NOT RUN: needs "
REQUIRE = "REQUIRE_REAL_PARTS"  # set in CI: a real component that is missing is a failure there


def not_run(component: str, remedy: str, *, installable: bool = True) -> NoReturn:
    """Report this test as not run, loudly at the end of the session; where real components are required, fail.

    What no installation brings, for the kernel does not have it, is never required.
    """
    reason = f"{MARK}{component} ({remedy})"
    if installable and os.environ.get(REQUIRE, "") not in ("", "0"):  # noqa: TID251 - set by CI, not in the settings
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def summary(reasons: Iterable[str]) -> list[str]:
    """Return one line for each component that tests went without, given how all skips and failures were explained."""
    found = (re.search(re.escape(MARK) + r"([^()]+ \([^()]+\))", reason) for reason in reasons)
    tests = Counter(match[1] for match in found if match)
    return [
        f"NOT RUN: {number} test{'s need' if number > 1 else ' needs'} {component}"
        for component, number in sorted(tests.items())
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in red, what no test has tried."""
    reports = [report for kind in ("skipped", "failed", "error") for report in terminalreporter.stats.get(kind, [])]
    for line in summary(str(report.longrepr) for report in reports):
        terminalreporter.write_line(line, red=True, bold=True)
