"""Which readings of a long run stay in memory: the first ones, the newest, and an even choice between them."""

from __future__ import annotations

import math

from adaptlr.records import Reading

LEAST = 64  # readings that can be thinned at all
_FIRST, _BETWEEN, _NEWEST = 1 / 8, 1 / 4, 1 / 2  # shares of what is kept; the rest is room until it has to be thinned again


def thin(readings: list[Reading], keep: int) -> set[int]:
    """Thin ``readings`` to seven eighths of ``keep`` or less, in place, and say which steps were dropped.

    Of the ones between, one of every so many steps stays, a power of two, so that the next time chooses among the same; one whose
    activations were sampled, if there is one.

    >>> readings = [Reading(step=i, loss=0.0) for i in range(81)]
    >>> len(thin(readings, 80)), [r.step for r in readings][8:28]
    (15, [8, 9, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 41, 42])
    """
    first, end = round(_FIRST * keep), len(readings) - round(_NEWEST * keep)
    between = readings[first:end]
    span = max(between[-1].step - between[0].step, 1)
    every = 2 ** max(1, math.ceil(math.log2(span / (_BETWEEN * keep))))
    chosen: dict[int, Reading] = {}
    for r in between:
        place = r.step // every
        if place not in chosen or (r.stages and not chosen[place].stages):
            chosen[place] = r
    stay = {r.step for r in chosen.values()}
    readings[first:end] = chosen.values()
    return {r.step for r in between} - stay
