"""What lies ahead of a run: its length and its schedule, as far as they are known, and the pace that they ask for. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from adaptlr.ranges import Over, check, default, required

Rate = Annotated[float, Over(0, upto=math.inf)]

_PACE = 0.04  # update ratio x steps^(1/4) that is safe to begin with: 0.011 in 160 steps, 0.0034 in 20,000
BRIEF = 64  # steps; in fewer it grows with their root: there is not the time to walk at random
_FEW_STEPS = 8  # no pace is set for fewer
_UNKNOWN_PACE = 0.01  # of a run of unknown length: that of 256 steps, until it has made as many
_LARGE, _POWER = 1e7, 0.6  # weights from which a pretrained net takes the smaller steps the larger it is, and by what power: not
# measured here, but chosen so that what is usual with Adam, 2e-5 for 1e8 weights and 2e-6 for 7e9, looks as good as it is
_LITTLE = 2.0  # a learning rate that was changed by less need not be wrong the next time


GAME = (
    "another optimizer steps between this net's forward pass and its gradients, as in a game of two, in which a loss need not come "
    "down: nothing was changed"
)
LINE_SEARCH = "the optimizer looks for the length of each step along a line, whatever the learning rate is: nothing was changed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What an earlier fit of the same model has taught: what it asked for, and what it bore.

    Raises:
        TypeError: a learning rate is no number; the message quotes it.
        ValueError: a learning rate is not above 0; likewise.
    """

    asked: Rate = required("largest learning rate of the fit's schedule, of all groups")
    took: Rate = required("largest learning rate that it was trained at, once that was put right")
    all_of_it: bool = default(False, "the net was random before: what it knows, it has learned at such learning rates")
    learned: bool = default(True, "the loss came down, in this fit or one before it")

    def __post_init__(self) -> None:
        check(self)

    @property
    def raised(self) -> float:
        """What the learning rates were multiplied by: more than 1 if they had been too low."""
        return self.took / self.asked

    @property
    def was_wrong(self) -> bool:
        """What was asked for had to be changed by a factor of two or more."""
        return not 1 / _LITTLE < self.raised < _LITTLE

    def holds(self, asks: float) -> bool:
        """For a fit that asks for this much: for no more than was too low, or no less than was too high."""
        return self.was_wrong and (asks <= 1.01 * self.asked if self.raised > 1 else asks >= 0.99 * self.asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What is known of a run's length and schedule. Nothing need be.

    Raises:
        ValueError: the number of steps is below 1; the message quotes it.
    """

    total_steps: int | None = None  # optimizer steps of the whole run
    peak_lrs: tuple[float, ...] | None = None  # the largest learning rate that the schedule gives each group
    weights: int | None = None  # that are trained
    continued: bool = False  # the model learned something before, which is not seen in this run's losses
    lesson: Lesson | None = None  # of an earlier fit
    guess: float | None = None  # cross entropy of guessing, as far as the last layer tells how many answers there are
    size: float | None = None  # of the weights at the start, as measure.beginning has it: 1 is usual
    frozen: bool = False  # most of the model's weights are: what its loss can come down to with the others is not known
    excuse: str = ""  # why nothing that the loss seems to say is the learning rate's doing; as said to the user

    def __post_init__(self) -> None:
        if self.total_steps is not None and self.total_steps < 1:
            raise ValueError(f"total_steps must be at least 1, got {self.total_steps!r}: the number of optimizer steps of the run")

    def peak(self, index: int, seen: float) -> float:
        """A group's largest scheduled learning rate: what is known of it, or what was ``seen`` so far."""
        known = self.peak_lrs[index] if self.peak_lrs is not None and index < len(self.peak_lrs) else 0.0
        return max(known, seen)

    def ahead(self, index: int, step: int, *, lr: float, resting: bool, seen: float) -> float | None:
        """Steps to come after ``step``, each weighed by its learning rate over the present one; None if the length is unknown.

        A learning rate below a peak that is known to come is taken to go there and then down, one that is ``resting`` to stay, and
        any other to fall to nothing.

        >>> Outlook(total_steps=101).ahead(0, 0, lr=0.1, resting=True, seen=0.1)
        100.0
        >>> Outlook(total_steps=101).ahead(0, 0, lr=0.1, resting=False, seen=0.2)
        50.0
        """
        if self.total_steps is None or lr <= 0:
            return None
        left = float(max(0, self.total_steps - step - 1))
        peak = self.peak(index, seen)
        to_come = peak > 1.01 * seen
        if to_come:
            return 0.55 * left * peak / lr
        return left if resting else 0.5 * left

    def pace(self, index: int, step: int, *, lr: float, resting: bool, seen: float) -> float:
        """The update ratio that a group should have at its schedule's peak, for what is left of the run.

        The more steps there are, the smaller each may be: a net's way is part walk, part random walk.

        Source: the gauntlet; brief runs: ``python -m experiments.brief``.

        >>> [round(Outlook(total_steps=n + 1).pace(0, 0, lr=1.0, resting=True, seen=1.0), 4) for n in (4, 16, 64, 20_000)]
        [0.04, 0.0283, 0.0141, 0.0034]
        """
        ahead = self.ahead(index, step, lr=lr, resting=resting, seen=seen)
        if ahead is None:  # taken to be half over, once it is longer than that
            return min(_UNKNOWN_PACE, _PACE / (step + 1) ** 0.25)
        at_peak = ahead * lr / self.peak(index, seen)
        steps = max(at_peak, _FEW_STEPS)
        return _PACE / steps**0.25 * max(1.0, BRIEF / steps) ** 0.25

    @property
    def small_steps(self) -> float:
        """Share of a small net's steps that a pretrained one of this size takes, as far as the size is known.

        >>> [round(Outlook(weights=n).small_steps, 3) for n in (100_000, 110_000_000, 7_000_000_000)]
        [1.0, 0.237, 0.02]
        """
        return min(1.0, (_LARGE / self.weights) ** _POWER) if self.weights else 1.0

    def tail(self, index: int, step: int, *, lr: float, seen: float, frac: float) -> float:
        """What to multiply a learning rate of ours by, so that it comes down linearly over the last ``frac`` of the run.

        1 where the length is unknown, or where the schedule has come down by itself.

        >>> Outlook(total_steps=100).tail(0, 90, lr=0.1, seen=0.1, frac=0.25)
        0.4
        """
        if self.total_steps is None or frac <= 0 or lr < 0.5 * self.peak(index, seen):
            return 1.0
        return min(1.0, max(1, self.total_steps - step) / (frac * self.total_steps))
