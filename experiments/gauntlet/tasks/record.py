"""What a task is: data, a loss, a metric that does not depend on the learning rate, and how long to train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor, nn


class Goal(StrEnum):
    """What is predicted."""

    CLASS = "class"  # targets [n] or [n, t]: accuracy
    NUMBER = "number"  # targets [n], standardised: share of variance explained, never below 0


@dataclass(frozen=True, kw_only=True)
class Data:
    """Tensors, examples first. Inputs are floats, or token numbers (integers)."""

    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor

    @cached_property
    def tokens(self) -> int:
        """Size of the vocabulary; 0 where inputs are no tokens."""
        return 0 if self.x.is_floating_point() else int(self.x.max()) + 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task.

    Args:
        load: the folder with downloaded data (many tasks need none) -> data.
        steps, batch: length of a run in optimizer steps, and examples in each.
        best: the best value of the metric that any net can reach, where it is known.
    """

    name: str
    load: Callable[[str], Data]
    nets: dict[str, Callable[[], nn.Module]]
    steps: int
    batch: int
    goal: Goal = Goal.CLASS
    best: float | None = None

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        if self.goal is Goal.NUMBER:
            return nn.functional.mse_loss(output.squeeze(-1), y)
        return nn.functional.cross_entropy(output.flatten(0, -2), y.flatten())

    def metric(self, outputs: Tensor, y: Tensor) -> float:
        """Accuracy, or the share of variance explained (R squared, cut off at 0: as bad as guessing is as bad as it gets)."""
        if self.goal is Goal.NUMBER:
            r2 = 1 - float((outputs.squeeze(-1) - y).square().mean() / y.var(correction=0))
            return max(0.0, r2) if math.isfinite(r2) else 0.0
        return float((outputs.argmax(-1) == y).float().mean())

    def chance(self, y_valid: Tensor) -> float:
        """What guessing gets: the largest class, or the mean."""
        if self.goal is Goal.NUMBER:
            return 0.0
        return float(torch.bincount(y_valid.flatten()).max()) / y_valid.numel()

    def standard_error(self, value: float, n: int) -> float:
        """Of the metric, from ``n`` validation targets alone: binomial, or for R squared Olkin and Finn (1995) for large n."""
        if self.goal is Goal.NUMBER:
            return 2 * math.sqrt(max(value, 0.0)) * (1 - value) / math.sqrt(n)
        return math.sqrt(max(value * (1 - value), 0.0) / n)


def split(x: Tensor, y: Tensor, valid_frac: float, seed: int = 0) -> Data:
    """A fixed random split."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    n = round(len(x) * (1 - valid_frac))
    train, valid = order[:n], order[n:]
    return Data(x=x[train], y=y[train], x_valid=x[valid], y_valid=y[valid])
