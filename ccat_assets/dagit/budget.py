import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """The seconds that a piece of work may take.

    The work checks `spent` between two of its parts, so it may take longer by one part. `passed` is the clock.
    """

    seconds: float = math.inf
    passed: Callable[[], float] = time.monotonic
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "begun", self.passed())

    @property
    def spent(self) -> bool:
        """Say whether the time is over."""
        return self.passed() - self.begun >= self.seconds
