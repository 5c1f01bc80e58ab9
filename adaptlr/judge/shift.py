"""Data that has changed under a run: a loss that leaps in one step, after updates no larger than those before. Pure.

New classes, larger images, the next stage of a curriculum: what was learned is lost on the spot, and no learning rate has done it.
Too large a step shows as one, or breaks a net over several. What the run was compared with holds no longer.
"""

from __future__ import annotations

import math
import statistics

from adaptlr.judge.history import GroupPast, History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import finding, said
from adaptlr.judge.words import number
from adaptlr.records import Finding, Kind, Reading

_BEFORE, _HIGH = 8, 3  # losses before the leap and since: fewer may be one odd batch
_QUIET_SHARE = 0.25  # of the leap, that none of the losses before it may have come up
_RISING = 2.0  # the leap by the newest loss over that by the first, from which it goes on: momentum makes some of that
_AS_BEFORE = 2.0  # update before the leap over the ones before that, at most


def shift(history: History, reading: Reading, limits: Thresholds) -> tuple[History, Finding | None]:
    """If the data changed three steps ago, the history that goes on from there, and what to say; otherwise the same history."""
    window = history.losses[-_BEFORE - _HIGH :]
    before, since = window[:_BEFORE], window[_BEFORE:]
    if len(since) < _HIGH or not (least := min(since)) > max(before):  # nearly always
        return history, None
    level, start = statistics.median(before), history.start_level
    leap, learned = least - level, start - level
    if not learned > 0.1 * abs(start) or not limits.regress_frac * learned < leap < math.inf or not math.isfinite(sum(window)):
        return history, None
    if not max(before) - level < _QUIET_SHARE * leap or since[-1] - level > _RISING * (since[0] - level):
        return history, None
    ratio = _quiet_ratio(history.groups, limits)
    if ratio is None:
        return history, None
    now = statistics.median(since)
    text = (
        f"the loss went from {said(history, level)} to {said(history, now)} in one step, after an update of {number(ratio)} of the "
        f"weights like those before it: the data has changed, and no learning rate is to blame"
    )
    found = finding(Kind.SHIFT, reading, (), text, loss=now, level=level, update_ratio=ratio)
    return history.moved_on(_HIGH), found


def _quiet_ratio(groups: tuple[GroupPast, ...], limits: Thresholds) -> float | None:
    """The largest last update before the leap; None if it was not small or stood out, or if one since was hot."""
    known = [g.ratios for g in groups if g.ratios]
    if not known or any(len(ratios) < _HIGH + 2 for ratios in known):
        return None
    before, since = [ratios[:-_HIGH] for ratios in known], [ratios[-_HIGH:-1] for ratios in known]  # no loss has felt the newest
    last = max(ratios[-1] for ratios in before)
    stands_out = any(not ratios[-1] <= _AS_BEFORE * max(ratios[:-1]) for ratios in before)
    hot = any(not max(ratios) < limits.hot_ratio for ratios in since)
    return None if stands_out or hot or not last < limits.shift_ratio else last
