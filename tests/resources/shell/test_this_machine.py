import signal
import threading
import time
from collections.abc import Iterator

import pytest

from resources.shell.this_machine import stop_ignoring_interrupts, stop_ignoring_interrupts_soon

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGURG)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Let SIGINT and SIGTERM be ignored, as in a program in the background; restore all handlers in the end."""
    now = (signal.SIG_IGN, signal.SIG_IGN, signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in zip(NUMBERS, now, strict=True)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def heeded_in_time() -> bool:
    end = time.monotonic() + 30
    while handlers() != [signal.default_int_handler] * 2 and time.monotonic() < end:
        time.sleep(0.05)
    return handlers() == [signal.default_int_handler] * 2


def test_ignored_signals_interrupt_again() -> None:
    stop_ignoring_interrupts()
    assert handlers() == [signal.default_int_handler] * 2


def test_a_handler_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_ignoring_interrupts()
    assert handlers() == [signal.default_int_handler, signal.SIG_DFL]


def test_another_thread_changes_nothing() -> None:
    for change in (stop_ignoring_interrupts, stop_ignoring_interrupts_soon):
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
    assert handlers() == [signal.SIG_IGN] * 2
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL


def test_a_passing_handler_is_waited_for() -> None:
    def passing(_number: int, _frame: object) -> None:
        """Handle nothing."""

    signal.signal(signal.SIGINT, passing)
    stop_ignoring_interrupts_soon()
    signal.raise_signal(signal.SIGURG)  # as if it had been looked at too early
    assert handlers() == [passing, signal.SIG_IGN]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert heeded_in_time()
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL


def test_what_another_does_with_sigurg_is_left_alone() -> None:
    def of_another(_number: int, _frame: object) -> None:
        """Handle nothing."""

    signal.signal(signal.SIGURG, of_another)
    stop_ignoring_interrupts_soon()
    assert signal.getsignal(signal.SIGURG) is of_another
