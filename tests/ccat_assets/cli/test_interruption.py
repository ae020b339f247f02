import signal
from contextlib import suppress

import pytest

from ccat_assets.cli.running import Interruption


def test_a_missed_signal_interrupts_the_next_sleep() -> None:
    interruption = Interruption()
    before = signal.signal(signal.SIGUSR1, interruption)
    try:
        interruption.sleep(0.0)
        with suppress(KeyboardInterrupt):  # as Python does with what is raised in a finalizer
            signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            interruption.sleep(60.0)
    finally:
        signal.signal(signal.SIGUSR1, before)
