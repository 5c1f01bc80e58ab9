"""Multiply a group's learning rate for the length of one optimizer step, then put it back.

Effective lr = scheduled lr x scale. The multiplier exists only between a step's beginning and its end, so every scheduler sees the
learning rate that it wrote, and none compounds ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from adaptlr.act.optimizer import OptimizerPort


class StepScale:
    """Applies scales around every step of an optimizer, while it is entered.

    Args:
        optimizer: whose steps to watch.
        before: called before each step, with the scheduled learning rates; returns the scale of each group.
        after: called after each step, when the scheduled learning rates are back.
    """

    def __init__(
        self, optimizer: OptimizerPort, before: Callable[[list[float]], Sequence[float]], after: Callable[[], None]
    ) -> None:
        self._optimizer = optimizer
        self._before = before
        self._after = after
        self._undo: Callable[[], None] | None = None
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if self._end is not None:
            raise RuntimeError("these scales are applied already: leave the first `with` block before entering a second")
        self._end = self._optimizer.watch_steps(self._step_begins, self._step_ends, self.put_back)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.put_back()
        if self._end is not None:
            self._end()
            self._end = None

    def put_back(self) -> None:
        """Undo a multiplication, after a step or in place of the rest of one that raised."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _step_begins(self) -> None:
        self.put_back()
        self._undo = self._optimizer.multiply_lr(self._before(self._optimizer.lrs()))

    def _step_ends(self) -> None:
        self.put_back()
        self._after()
