"""Other optimizers that train what a net's loss depends on, as a discriminator is trained against its generator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

_TIMES = 2  # that one is seen before it is told: once may be a coincidence
_WATCHED = 3  # parameters whose gradients are looked at


class Opponents:
    """Notices optimizers of other nets that step in the midst of this one's passes, while it is entered.

    In a game each loss goes through both nets: between two steps of one optimizer comes a forward pass of its own net, a step of
    the other optimizer, and only then the gradients that the first one steps on. Two optimizers that share a loss, as those of an
    encoder and its decoder, step on the gradients of one backward pass; and a model that is trained beside this one needs none of
    its passes, unless both make theirs before either steps: that looks like a game from here. Optimizers of this net's own weights
    are none, nor what is trained in another thread.

    Args:
        model: the net.
        params: the parameters of each group of its optimizer.
        saw_forward: whether the net has made a training pass since its optimizer's last step.

    >>> net, other = nn.Linear(2, 2), nn.Linear(2, 1)
    >>> mine, theirs = (torch.optim.SGD(n.parameters(), lr=0.1) for n in (net, other))
    >>> with Opponents(net, [list(net.parameters())], lambda: True) as opponents:
    ...     for _ in range(2):
    ...         for optimizer in (theirs, mine):
    ...             optimizer.zero_grad()
    ...             other(net(torch.ones(1, 2))).sum().backward()
    ...             if optimizer is mine:
    ...                 opponents.before_step()
    ...             optimizer.step()
    >>> opponents.noticed
    True
    """

    def __init__(self, model: nn.Module, params: Sequence[Sequence[nn.Parameter]], saw_forward: Callable[[], bool]) -> None:
        self._own = {id(p) for p in model.parameters()} | {id(p) for group in params for p in group}
        trained = [p for group in params for p in group if p.requires_grad]
        self._watched = sorted(trained, key=lambda p: p.numel())[:_WATCHED]  # a gradient is kept until the next step: a small one
        self._saw_forward = saw_forward
        self._grads: list[Tensor | None] | None = None
        self._times = 0
        self._thread = 0
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._end = register_optimizer_step_post_hook(self._stepped).remove
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._grads = None
        if self._end is not None:
            self._end()
            self._end = None

    @property
    def noticed(self) -> bool:
        return self._times >= _TIMES

    def before_step(self) -> None:
        """This net's optimizer is about to step."""
        before, self._grads = self._grads, None
        if before is None or self.noticed:
            return
        if any(p.grad is not None and p.grad is not then for p, then in zip(self._watched, before, strict=True)):
            self._times += 1

    def _stepped(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Any optimizer of torch has stepped."""
        if self.noticed or torch.compiler.is_compiling() or threading.get_ident() != self._thread or not self._saw_forward():
            return
        params: list[Any] = optimizer.param_groups[0]["params"]
        if params and id(params[0]) not in self._own:
            self._grads = [p.grad for p in self._watched]
