"""Weights that were ruined before the run began: (history, reading, thresholds) -> a finding or None. Pure.

No learning rate mends that, so none is to blame, and there is no snapshot to go back to.

Source: 19 nets after half a run at a learning rate of 1 or 10, which nobody watched. Of 38, 31 had a loss no better than guessing:
the weights of 8 not finite, 5 silent, and 12 at 20 to 800 times the size that initialisations make, where those that trained well
had 0.5 to 3. Of the six that nothing is said of, four have no answers to guess among, and two a head that looks new.
"""

from __future__ import annotations

import math

from adaptlr.judge.history import History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import Rule, also, finding, said
from adaptlr.judge.words import number
from adaptlr.records import Finding, Kind, Provenance, Reading, Trait

_SOON = 8  # steps: without any gradient, or of the losses that are held against guessing
_CURE = "no learning rate mends that: build the model anew, or load weights from before"


def grown_before(history: History, limits: Thresholds) -> bool:
    """Weights were far larger at the start than any that train well."""
    size = history.outlook.size
    return size is not None and limits.grown_size <= size < math.inf


def not_finite(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Losses that no step can have ruined: there was none, or none but from the same weights, with other batches."""
    if history.start or math.isfinite(reading.loss):
        return None
    batches = max(reading.step + 1, reading.skipped)
    if history.outlook.size == math.inf:
        text = f"the weights were not finite when this run began, and {_CURE}"
    elif batches >= limits.lost_batches:
        text = (
            f"the loss has been {reading.loss} from the first step on, on {batches} batches, and the weights that the run "
            f"began with were finite: look for what is not in the inputs, the targets, the loss function, or in half precision; no "
            f"learning rate is to blame"
        )
    else:
        return None
    found = finding(Kind.RUINED, reading, (), text, loss=reading.loss)
    return also(found, Trait.ALIVE) if reading.skipped else found  # the scaler has kept the weights from it


def silent(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Stages at zero from the first batch on, and no weight that any gradient has reached."""
    if history.age < _SOON or not reading.groups or any(not g.frozen or g.nonfinite for g in reading.groups):
        return None
    names = {s.path: s.name for s in reading.stages}
    quiet = [names.get(path, path) for path, past in history.stages if past.quiet == 1.0 and past.baseline_quiet == 1.0]
    if not quiet:
        return None
    text = (
        f"{', '.join(quiet)} {'was' if len(quiet) == 1 else 'were'} at zero when this run began, no gradient reaches any weight, "
        f"and {_CURE}"
    )
    return finding(Kind.RUINED, reading, (), text, stages=tuple(quiet), loss=reading.loss)


def thrown(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Weights that are so large, that no initialiser has drawn, and a loss that is no better than guessing."""
    if reading.step != _SOON - 1 or not grown_before(history, limits):
        return None
    if any(g.provenance in (Provenance.RANDOM, Provenance.MIXED) for g in reading.groups):
        return None
    size, level = history.outlook.size or 0.0, history.median(_SOON)
    if not history.no_better_than_guessing(level):
        return None
    text = (
        f"the weights were about {number(size)} times as large as initialisations make them when this run began, and at a loss of "
        f"{said(history, level)} the net is no better than guessing: it learns from there slowly, if at all. "
        f"Better build the model anew, or load weights from before they were thrown there"
    )
    return finding(Kind.RUINED, reading, (), text, traits=(Trait.ALIVE,), loss=reading.loss, size=size)


RULES: tuple[Rule, ...] = (not_finite, silent, thrown)
