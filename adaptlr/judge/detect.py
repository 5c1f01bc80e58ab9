"""Readings -> findings: the rules, run in one order. Pure: the same history, reading and thresholds give the same findings.

A history is not of readings alone. It holds the run's outlook (length, peaks, what the model told before its first step), and every
decision changes it: who judges a trace again has to bring both, and all of its readings.
"""

from __future__ import annotations

import dataclasses
import math

from adaptlr.judge import cold, heat, ruined, shift, stalled, starved
from adaptlr.judge.history import History, advance
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, Kind, Reading

#: What means that the learning rate is too high, or that the weights are ruined already.
HOT = frozenset({Kind.NON_FINITE, Kind.BAD_BATCH, Kind.TOO_HOT, Kind.DIVERGENCE, Kind.COLLAPSE})

_LOSSES = frozenset({"loss", "start", "best", "level"})  # in a finding's evidence


def observe(history: History, reading: Reading, limits: Thresholds) -> tuple[History, tuple[Finding, ...]]:
    """Move ``history`` on by ``reading`` and say what is wrong in it.

    At most one finding says "too high" (the most certain one), and at most one "too low", and neither does where all was ruined
    before; weight decay and data that has changed are judged apart.
    """
    history = starved.count_starved(advance(history, reading), reading, limits)
    history, shifted = shift.shift(history, reading, limits)
    if history.floor:
        reading = dataclasses.replace(reading, loss=history.over_floor(reading.loss))
    if before := next((f for rule in ruined.RULES if (f := rule(history, reading, limits))), None):
        return history, (_as_known(history, before),)
    hot = next((f for rule in (*heat.RULES, *stalled.RULES) if (f := rule(history, reading, limits))), None)
    low = None if hot else starved.starved(history, reading, limits) or cold.too_cold(history, reading, limits)
    decay = cold.decay_dominated(history, reading, limits)
    return history, tuple(_as_known(history, f) for f in (shifted, hot, low, decay) if f is not None)


def goes_well(history: History, findings: tuple[Finding, ...], limits: Thresholds) -> bool:
    """Nothing was found, no step was large, and the loss is no higher above its best than batches differ, or a quarter."""
    hot = any(g.ratios and not g.ratios[-1] < limits.hot_ratio for g in history.groups)
    may_rise = max(0.25 * abs(history.best), 4 * history.noise)
    risen = math.isfinite(history.best) and not history.median(3) <= history.best + may_rise
    return not (findings or hot or risen)


def _as_known(history: History, finding: Finding) -> Finding:
    """With losses as evidence that are the user's."""
    if not history.floor:
        return finding
    evidence = {k: history.shown(v) if k in _LOSSES else v for k, v in finding.evidence.items()}
    return dataclasses.replace(finding, evidence=evidence)
