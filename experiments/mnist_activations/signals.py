"""When did each signal tell? The first step at which the loss, the update ratio and the near-zero shares leave what is healthy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adaptlr.trace import Trace

RATIO, LOSS, NEAR_ZERO = 0.5, 2.0, 0.9


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """Steps, or None where a signal never told."""

    update_ratio: int | None  # a group's update reached half of its weights
    loss: int | None  # the loss reached twice that of the first step, or was none
    near_zero: int | None  # a stage's output had 90% of its activations within 1% of its RMS
    seed_near_zero: int | None  # a probe had 90% of its outputs of 0 to 10 in the first two bins, for 20 steps
    finding: int | None  # adaptlr found something


def first_steps(trace: Trace, counts: NDArray[np.float32]) -> FirstSteps:
    """Of one run: its trace, and the seed's counts ``[steps, probes, bins]``."""
    readings = trace.readings
    start = readings[0].loss
    lasting: NDArray[np.bool_] = np.any(_lasting(seed_near_zero(counts) >= NEAR_ZERO), axis=1)
    return FirstSteps(
        update_ratio=_first((r.step, any((g.update_ratio or 0.0) >= RATIO for g in r.groups)) for r in readings),
        loss=_first((r.step, not r.loss < LOSS * start) for r in readings),
        near_zero=_first((r.step, any(s.quiet_frac >= NEAR_ZERO for s in r.stages)) for r in readings),
        seed_near_zero=_first(enumerate(lasting.tolist())),
        finding=min((f.step for f in trace.findings if f.kind != "decay-dominated"), default=None),
    )


def seed_near_zero(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first two bins over all bins, ``[steps, probes]``; NaN where nothing lay in 0 to 10."""
    inside = counts.sum(2)
    return np.where(inside > 0, counts[:, :, :2].sum(2) / np.maximum(inside, 1), math.nan).astype(np.float32)


AFTER_SHOCK = slice(20, 120)


def shrink_per_step(trace: Trace, group: int, steps: slice = AFTER_SHOCK) -> float:
    """Mean factor by which a group's weight RMS changed in one of these steps; weight decay alone makes it 1 - lr x wd."""
    rms = [g.weight_rms for r in trace.readings[steps] for g in r.groups if g.index == group and g.weight_rms]
    return math.exp(float(np.mean([math.log(b / a) for a, b in pairwise(rms)])))


def _lasting(high: NDArray[np.bool_], steps: int = 20) -> NDArray[np.bool_]:
    """True where a column is, and stays for so many steps."""
    if len(high) < steps:
        return np.zeros_like(high)
    windows = np.lib.stride_tricks.sliding_window_view(high, steps, axis=0).all(-1)
    return np.concatenate([windows, np.zeros((steps - 1, high.shape[1]), bool)])


def _first(said: Iterable[tuple[int, bool]]) -> int | None:
    return next((step for step, true in said if true), None)
