"""Groups whose weights have little left of what they were when the run began. Pure."""

from __future__ import annotations

import math

from adaptlr.judge.history import History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Reading


def replaced(history: History, reading: Reading, limits: Thresholds) -> tuple[int, ...]:
    """Those as far from where they began as weights of their size can be, that did not walk there in a straight line."""
    far = [g.index for g in reading.groups if g.travel is not None and g.travel >= limits.replaced_frac]
    walks = [(i, history.groups[i].walk) for i in far]
    return tuple(i for i, walk in walks if walk is None or walk > limits.search_walk * math.sqrt(history.groups[i].age))


def thrown_far(history: History, reading: Reading, limits: Thresholds) -> tuple[int, ...]:
    """Those that large updates have moved far from where they began. Later ones may look small, as such weights have grown.

    In a long run small ones take every net as far, and Adam's first is large in many that train well: large ones have to add up.
    """
    return tuple(
        g.index
        for g, past in zip(reading.groups, history.groups, strict=True)
        if past.largest >= limits.hot_ratio and past.flung >= limits.flung_frac and (g.travel or 0.0) >= limits.moved_frac
    )
