"""Whether a loop calls the Controller where it should: what is not seen in the numbers, and ruins what they say. Asks once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adaptlr.observer import Observer

_LONGEST_WAIT = 100  # calls without a step of the optimizer, or steps without a call, after which the user is asked
_EARLY_CALLS = 5  # in a row


class Usage:
    """Of one run.

    Args:
        observer: what has seen passes and steps.
        has_scaler: a GradScaler is known: calls without a step are batches whose steps it skipped.
        say: told what is asked.
    """

    def __init__(self, observer: Observer, *, has_scaler: bool, say: Callable[[str], None]) -> None:
        self._observer = observer
        self._has_scaler = has_scaler
        self._say = say
        self._untold = 0  # steps of the optimizer that nobody told of
        self._early: int | None = (
            None  # calls before the optimizer's step in a row; None if there was none, below 0 if it is not so
        )

    def before_step(self) -> None:
        """The optimizer is about to step: was the controller told of the step before?"""
        if not self._observer.stepped:
            return
        self._untold += 1
        if self._untold == _LONGEST_WAIT:
            self._say(
                f"{_LONGEST_WAIT} steps of the optimizer were followed by another before their loss was told: call "
                f"Controller.step(loss) after each. A callback is told one loss a batch, and judges the last of its steps"
            )

    def called(self) -> None:
        """The controller is told of a batch: does that come before the optimizer's step, time and again?"""
        stepped = self._observer.stepped
        if self._early is None:
            self._early = 0 if not stepped and not self._has_scaler else -1
        if self._early < 0 or not stepped:
            return
        self._early = self._early + 1 if self._observer.activations.passed_after_step else -1
        if self._early == _EARLY_CALLS:
            self._early = -1
            self._say(
                "a forward pass of the model comes between each step of its optimizer and the call of Controller.step: call it "
                "after optimizer.step(), once a batch, before the next pass. As it is, losses are put down to the wrong steps"
            )

    def nothing_steps(self, losses: Sequence[Tensor]) -> None:
        """The controller was told of these batches, and the optimizer has not stepped since."""
        if len(losses) != _LONGEST_WAIT:
            return
        if not self._observer.step:
            self._say(
                f"forward passes of the model were seen, but no step of its optimizer in {_LONGEST_WAIT} calls of Controller.step, "
                "so nothing can be judged: give Controller the optimizer whose step() changes the weights. Weights that change "
                "without one, as in the ways of torch.func, cannot be watched: copy gradients to p.grad and call optimizer.step()"
            )
        elif not self._has_scaler and self._observer.weights_have_moved():
            self._say(
                f"the weights have changed, and no step of the optimizer was seen in {_LONGEST_WAIT} calls of Controller.step: if "
                f"another trains the model now, leave the block, and enter a new Controller with that one"
            )
        elif not self._has_scaler and not torch.stack([x.to("cpu") for x in losses[_LONGEST_WAIT // 2 :]]).isfinite().any():
            self._say(
                f"no optimizer step in {_LONGEST_WAIT} batches, and for long no loss that is finite: if a GradScaler skips those "
                "steps, it will skip all others too. Give it to the Controller, Controller(..., scaler=scaler): then the run goes "
                "back to before that"
            )
