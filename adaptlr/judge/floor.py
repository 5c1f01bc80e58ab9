"""What losses are measured from. Pure.

Rules speak of shares of a loss: a tenth of it, half of that at the start. That is sense for one that ends near zero or above it, as
most do. One that goes below, a log-likelihood or a similarity with its sign turned, has no zero of its own: it is measured from a
floor below all that was seen, as far below as it has fallen so far, roughly, and at least by its own size at the start.
"""

from __future__ import annotations

import math

_BELOW = 1e-3  # of the size of the loss at the start: what is less below zero than that is a zero, rounded
_ROOM = 0.75  # of the fall so far: at the floor's distance a run has come down to 0.43 of its start, whatever it has yet to go


def floor_under(floor: float, *, start: float, best: float, loss: float) -> float:
    """The floor for a run with one more ``loss``. It is 0 until a loss is well below zero, and then never rises.

    Args:
        floor: as it was.
        start: the loss that the run began at.
        best: its lowest level so far, inf if there was none.
        loss: the newest.

    >>> floor_under(0.0, start=2.3, best=0.5, loss=0.1)
    0.0
    >>> floor_under(0.0, start=1.0, best=0.1, loss=-1.0)
    -2.5
    """
    if not math.isfinite(loss) or (floor == 0.0 and loss >= -_BELOW * abs(start)):
        return floor
    lowest = min(start, best, loss)
    room = max(_ROOM * (start - lowest), min(abs(start), abs(lowest)))
    return min(floor, lowest - room)
