"""The rules of AutoTrainer (Zhang et al., ICSE 2021), re-derived, with its learning-rate actions alone.

A symptom is looked for ten times a run, which stand for the paper's epochs. If one is found, training starts over from the initial
weights, at the learning rate times 10 to the power of j or -j, where j counts the attempts; the user's schedule is laid over the
steps that are left, so that the budget of steps stays the same.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from experiments.fashion import schedule
from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.base import Event, Plain

CHECKS = 10  # a run: its "epochs"
FIRST_CHECK = 3  # accuracy is judged from 30% of the epochs on
ATTEMPTS = 3
SATISFIED = 0.6  # accuracy above which gradients are not looked at
GAIN = 0.01
SWING = 0.03
_PROBE = 256  # training examples by which accuracy is followed


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What one check sees."""

    first_grad: float  # L2 norm of the gradient of the first weight of two or more dimensions
    last_grad: float
    zero_frac: float  # share of gradient entries that are exactly zero
    accuracies: tuple[float, ...]  # of all checks since the (re)start, newest last


def symptom(signs: Signs) -> str | None:
    """The published thresholds, in the published order; but for NaN, only a run that is not satisfied is asked for its gradients.

    >>> symptom(Signs(first_grad=1e-6, last_grad=1.0, zero_frac=0.1, accuracies=(0.1, 0.2, 0.3)))
    'vanishing'
    >>> symptom(Signs(first_grad=1e-6, last_grad=1.0, zero_frac=0.1, accuracies=(0.1, 0.4, 0.7)))
    >>> symptom(Signs(first_grad=0.1, last_grad=0.1, zero_frac=0.1, accuracies=(0.50, 0.505, 0.50)))
    'slow'
    """
    if not math.isfinite(signs.first_grad + signs.last_grad):
        return "exploding"
    a = signs.accuracies
    if len(a) < FIRST_CHECK:
        return None
    stuck = max((y - x for x, y in itertools.pairwise(a)), default=0.0) < GAIN
    if max(a) >= SATISFIED and not stuck:
        return "oscillating" if _swings(a) >= 0.2 * len(a) else None
    return _of_gradients(signs) or ("slow" if stuck else None)


def _of_gradients(signs: Signs) -> str | None:
    if signs.zero_frac >= 0.7:
        return "dying"
    ratio = signs.first_grad / signs.last_grad if signs.last_grad else math.inf if signs.first_grad else 1.0
    if ratio > 70:
        return "exploding"
    return "vanishing" if signs.first_grad < 1e-4 and ratio < 1e-3 else None


def _swings(accuracies: Sequence[float]) -> int:
    """The first peak with the first trough, the second with the second, ...: how many pairs lie so far apart."""
    turns = [accuracies[i - 1 : i + 2] for i in range(1, len(accuracies) - 1)]
    peaks = [b for a, b, c in turns if b >= a and b >= c]
    troughs = [b for a, b, c in turns if b <= a and b <= c]
    return sum(high - low >= SWING for high, low in zip(peaks, troughs, strict=False))


#: The direction of the learning-rate action.
LOWER = {"exploding": True, "dying": True, "oscillating": True, "vanishing": False, "slow": False}


class AutoTrainer(Plain):
    name: ClassVar[str] = "auto-trainer"
    speaks: ClassVar[bool] = True
    steps_in: ClassVar[bool] = True
    settings: ClassVar[str] = (
        f"re-derived from its code: from 30% of the checks on, where accuracy stays under {SATISFIED} or never gained {GAIN}: "
        f"70% zero gradients; ratio of the first layer's gradient norm to the last's over 70; norm under 1e-4 and ratio under "
        f"1e-3; no gain. Elsewhere accuracy swings of {SWING} in a fifth of the checks. NaN at once. {CHECKS} checks a run, at "
        f"most {ATTEMPTS} restarts at lr x 10^(+-j) within the run's budget of steps"
    )

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._start = copy.deepcopy(job.model.state_dict())
        self._since = 0  # step of the last restart
        self._attempts = 0
        self._accuracies: list[float] = []

    def multiplier(self) -> float:
        steps = self.job.steps - self._since
        shape = schedule(self.job.cell.column.schedule, steps)
        return shape(self.at - self._since) * self.job.fault.multiplier(self.at, self.job.steps)

    def after_update(self, loss: Tensor) -> None:
        done = self.at + 1
        if done % (self.job.steps // CHECKS) or done == self.job.steps or self._attempts >= ATTEMPTS:
            return
        self._accuracies.append(self.job.metric(self.job.model, examples=_PROBE))
        found = symptom(self._signs())
        if found is None:
            return
        self._attempts += 1
        factor = 10.0 ** (-self._attempts if LOWER[found] else self._attempts)
        self.events.findings.append(Event(step=self.at, kinds=(found,)))
        self.events.decisions.append(
            Event(step=self.at, kinds=(found,), changes=True, lower=LOWER[found], text=f"restart at lr x {factor:g}")
        )
        self.lrs = tuple(lr * factor for lr in self.job.lrs)
        self.job.model.load_state_dict(self._start)
        self.optimizer = self.make_optimizer()
        self._since = done
        self._accuracies.clear()

    def _signs(self) -> Signs:
        weights = [p.grad for p in self.job.model.parameters() if p.dim() > 1 and p.grad is not None]
        zeros, n = sum(int((g == 0).sum()) for g in weights), sum(g.numel() for g in weights)
        return Signs(
            first_grad=float(weights[0].norm()),
            last_grad=float(weights[-1].norm()),
            zero_frac=zeros / n,
            accuracies=tuple(self._accuracies),
        )
