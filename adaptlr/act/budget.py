"""How far apart captures must be to stay within a share of the run's time. What adaptlr does depends on a clock nowhere else: the
controller looks at one to say here how long a capture took.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

EARLY_STEPS = 128  # captures up to here are where runs break: no clock decides about them

#: Bytes a second that a copy within a GPU's memory is taken for, read and written: half of what the slower ones do. Nothing waits
#: for such a copy, so that its time is not on the host's clock.
DEVICE_BYTES_PER_S = 1.5e11


class CaptureBudget:
    """Puts captures off that would take more than ``budget_frac`` of the run's time so far; asks for none.

    Those of the first ``EARLY_STEPS`` steps are made whatever they take, and are not counted: what a rescue in those steps goes
    back to is the same on every machine. A capture counts at its fastest and a step at its mean, so that a busy machine lengthens
    no gap. After a resume, time is counted from there.

    Args:
        budget_frac: share of the run's time, (0, 1].
        clock: seconds.
    """

    def __init__(self, budget_frac: float, clock: Callable[[], float] = time.perf_counter) -> None:
        if not 0 < budget_frac <= 1:
            raise ValueError(f"budget_frac must lie in (0, 1], got {budget_frac}: or None, to leave the clock out of it")
        self._budget = budget_frac
        self._clock = clock
        self._late = 0  # captures that count
        self._capture_s = math.inf
        self._began: float | None = None
        self._steps = 0
        self._spent_s = 0.0

    def captured(self, step: int, seconds: float) -> None:
        """A capture before step ``step`` took so long."""
        self._late += step > EARLY_STEPS
        self._capture_s = min(self._capture_s, seconds)
        self._spent_s += seconds if self._began is not None else 0.0

    def tick(self) -> None:
        """A step is over."""
        if self._began is None:
            self._began = self._clock()
        else:
            self._steps += 1

    def allows(self, step: int) -> bool:
        """One more capture before step ``step`` is early, the first that is measured, or would stay within the budget."""
        if step <= EARLY_STEPS or self._began is None or not self._steps or self._capture_s == math.inf:
            return True
        step_s = (self._clock() - self._began - self._spent_s) / self._steps
        return (self._late + 1) * self._capture_s <= self._budget * self._steps * step_s
