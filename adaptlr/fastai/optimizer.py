"""fastai's own optimizers, as the controller sees an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from fastai.optimizer import Lookahead, Optimizer, OptimWrapper, l2_reg, momentum_step, sgd_step, weight_decay
from fastcore.foundation import L
from torch import Tensor, nn

from adaptlr.act.optimizer import OptimizerPort, TorchOptimizer, by_number, by_parameter, copy_tensors, put_back, tells_of_steps
from adaptlr.standin import StandIn


def port_of(optimizer: Any, device: torch.device | None = None) -> OptimizerPort:
    """The port for a Learner's optimizer: fastai's own kind, or a torch optimizer within an ``OptimWrapper``.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(optimizer, OptimWrapper) and isinstance(optimizer.opt, torch.optim.Optimizer):
        return TorchOptimizer(optimizer.opt, device)
    if isinstance(optimizer, Optimizer):
        return FastaiOptimizer(optimizer, device)
    raise TypeError(
        f"cannot watch the steps of a {type(optimizer).__name__}: make the Learner with one of fastai's optimizers as opt_func, "
        f"or with partial(OptimWrapper, opt=...) around one of torch's"
    )


class FastaiOptimizer:
    """A ``fastai.optimizer.Optimizer`` (``Lookahead`` too), watched by standing in for its ``step``: it has no step hooks.

    Args:
        optimizer: with ``param_lists``, ``hypers`` and ``state``.
        device: where captured state is kept; None keeps it beside the original.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device | None = None) -> None:
        self.optimizer: Any = optimizer  # fastai's classes get their attributes at run time: no type checker knows them
        self._device = device

    def params(self) -> list[list[nn.Parameter]]:
        return [list(params) for params in self.optimizer.param_lists]

    def lrs(self) -> list[float]:
        return [float(hyper["lr"]) for hyper in self.optimizer.hypers]

    def weight_decays(self) -> list[float]:
        """0 for a group in which no parameter is decayed (fastai leaves out norms and biases: ``do_wd``)."""
        steps = {cb.func if isinstance(cb, partial) else cb for cb in self.optimizer.cbs}
        # A plain step takes lr x wd off a weight even if it is added to the gradient; Adam and the like normalise it away.
        shrinks = weight_decay in steps or (l2_reg in steps and bool(steps & {sgd_step, momentum_step}))
        return [
            float(hyper.get("wd", 0.0)) if shrinks and any(self._state_of(p).get("do_wd", True) for p in params) else 0.0
            for params, hyper in zip(self.optimizer.param_lists, self.optimizer.hypers, strict=True)
        ]

    def multiply_lr(self, scales: Sequence[float]) -> Callable[[], None]:
        changed = [(h, h["lr"], s) for h, s in zip(self.optimizer.hypers, scales, strict=False) if s != 1.0]
        for hyper, lr, scale in changed:
            hyper["lr"] = lr * scale

        def put_back_lr() -> None:
            for hyper, lr, _ in changed:
                hyper["lr"] = lr

        return put_back_lr

    def watch_steps(
        self, before: Callable[[], None], after: Callable[[], None], failed: Callable[[], None] = lambda: None
    ) -> Callable[[], None]:
        def around(step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            before()
            try:
                result = step(*args, **kwargs)
            except BaseException:
                failed()
                raise
            after()
            return result

        return StandIn(self.optimizer, "step", around).remove

    def has_stepped(self) -> bool:
        return any(map(tells_of_steps, self.optimizer.state.values()))

    def skips(self) -> Tensor | None:
        return None  # fastai's mixed precision does not call step() then

    def capture(self) -> Any:
        states = {p: copy_tensors(dict(s), self._device) for p, s in self.optimizer.state.items()}
        if not isinstance(self.optimizer, Lookahead):
            return states, None
        slow: Any = self.optimizer.slow_weights  # None until the first step
        copies = None if slow is None else [[copy_tensors(t, self._device) for t in group] for group in slow]
        return states, (self.optimizer.count, copies)

    def restore(self, state: Any) -> None:
        states, lookahead = state
        for p, current in self.optimizer.state.items():
            # What the Learner marked on a parameter (do_wd, force_train) is no step's doing, and stays if the copy lacks it.
            marks = {k: current[k] for k in self.optimizer._keep_on_clear if k in current}
            fresh = {**marks, **put_back(states.get(p, {}), current)}
            current.clear()
            current.update(fresh)
        if lookahead is not None:
            self.optimizer.count, slow = lookahead
            self.optimizer.slow_weights = (
                None
                if slow is None
                else L(
                    L(t.to(p.device, copy=True) for t, p in zip(ts, params, strict=True))
                    for ts, params in zip(slow, self.optimizer.param_lists, strict=True)
                )
            )

    def pack(self, state: Any) -> Any:
        states, lookahead = state
        return [by_number(states.items(), self.params()), None if lookahead is None else list(lookahead)]

    def unpack(self, packed: Any) -> Any:
        states, lookahead = packed
        captured = dict(by_parameter(states, self.params(), self._device))
        return captured, None if lookahead is None else tuple(lookahead)

    def _state_of(self, p: Tensor) -> dict[str, Any]:
        return self.optimizer.state.get(p, {})  # by get: reading a defaultdict would add an entry
