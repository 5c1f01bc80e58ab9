"""Late breaks: a run that goes well, and is broken after 60% of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

AT = 0.6  # share of the steps that go well
_RAMP_FRAC = 0.1  # share of the steps that the ramp takes
_RAMP = 1000.0  # what it multiplies the learning rate by
_POISON = 1e4


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and when. This one is nothing at all; the others override what they change."""

    name: str = "none"

    def begins(self, steps: int) -> int:
        """The step on which the fault is first felt."""
        return math.ceil(AT * steps)

    def multiplier(self, step: int, steps: int) -> float:
        """A factor on the schedule."""
        return 1.0

    def inputs(self, x: Tensor, step: int, steps: int, *, tokens: int) -> Tensor:
        """A batch of inputs as the fault leaves it. ``tokens`` is the size of the vocabulary, of integer inputs."""
        return x

    def loss_factor(self, x: Tensor, step: int, steps: int) -> float:
        """A factor on the loss. Tokens cannot be NaN: there the loss is poisoned in place of the inputs."""
        return 1.0

    def valid_inputs(self, x: Tensor, *, tokens: int) -> Tensor:
        """The validation inputs: of the world as it is when training ends."""
        return x


@dataclass(frozen=True, kw_only=True)
class Ramp(Fault):
    """The schedule climbs to a thousand times itself within a tenth of the steps, and stays there."""

    name: str = "ramp"

    def multiplier(self, step: int, steps: int) -> float:
        at = (step - self.begins(steps) + 1) / max(1.0, _RAMP_FRAC * steps)
        return _RAMP ** min(max(at, 0.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class Shift(Fault):
    """Inputs change for good: brighter and with more contrast; or a tenth of the tokens trade places. No learning rate is wrong."""

    name: str = "shift"

    def _shifted(self, x: Tensor, tokens: int) -> Tensor:
        if x.is_floating_point():
            return 1.5 * x + 0.5
        moved = torch.arange(tokens)
        some = max(2, tokens // 10)
        moved[:some] = moved[:some].roll(1)
        return moved[x]

    def inputs(self, x: Tensor, step: int, steps: int, *, tokens: int) -> Tensor:
        return self._shifted(x, tokens) if step >= self.begins(steps) else x

    def valid_inputs(self, x: Tensor, *, tokens: int) -> Tensor:
        return self._shifted(x, tokens)


@dataclass(frozen=True, kw_only=True)
class Poison(Fault):
    """One batch whose inputs are multiplied by NaN, or by 10,000. The learning rate is not to blame."""

    factor: float

    def inputs(self, x: Tensor, step: int, steps: int, *, tokens: int) -> Tensor:
        return x * self.factor if step == self.begins(steps) and x.is_floating_point() else x

    def loss_factor(self, x: Tensor, step: int, steps: int) -> float:
        return self.factor if step == self.begins(steps) and not x.is_floating_point() else 1.0


_ALL = (Fault(), Ramp(), Shift(), Poison(name="nan-batch", factor=math.nan), Poison(name="scaled-batch", factor=_POISON))
FAULTS: dict[str, Fault] = {f.name: f for f in _ALL}
