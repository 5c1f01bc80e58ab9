"""Optimizers that wrap another: the one within is the one that steps, and what both remember goes back."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptlr import Action, Controller
from adaptlr.act.optimizer import TorchOptimizer
from tests.nets import backward, batches, convnet, quiet, same


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation (Foret et al. 2021): climbs, asks for the gradient there, steps with it from where it was."""

    def __init__(self, params: Any, base: Callable[..., torch.optim.Optimizer], *, rho: float = 0.05, **kwargs: Any) -> None:
        super().__init__(params, {"rho": rho, **kwargs})
        self.base_optimizer = base(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    def _params(self) -> Iterator[nn.Parameter]:
        yield from (p for group in self.param_groups for p in group["params"])

    @torch.no_grad()
    def first_step(self) -> None:
        norm = torch.stack([p.grad.norm() for p in self._params() if p.grad is not None]).norm()
        for p in self._params():
            assert p.grad is not None
            self.state[p]["old"] = p.clone()
            p.add_(p.grad, alpha=float(self.defaults["rho"] / (norm + 1e-12)))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p in self._params():
            p.copy_(self.state[p]["old"])
        self.base_optimizer.step()

    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


class Lookahead(torch.optim.Optimizer):
    """Lookahead (Zhang et al. 2019) as in several packages: no ``__init__`` of its parent's, so that torch gives it no hooks."""

    def __init__(self, fast: torch.optim.Optimizer, *, k: int = 5) -> None:
        self._fast, self._k = fast, k
        self.param_groups, self.defaults = fast.param_groups, fast.defaults
        self.state = defaultdict(dict)
        self.state["steps"] = 0  # type: ignore[index,assignment]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._fast.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        self._fast.step(*(() if closure is None else (closure,)))
        self.state["steps"] += 1  # type: ignore[index,operator]
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.clone())
                if self.state["steps"] % self._k == 0:  # type: ignore[index,operator]
                    slow.lerp_(p, 0.5)
                    p.copy_(slow)


def sam(model: nn.Module, lr: float) -> SAM:
    return SAM(model.parameters(), torch.optim.SGD, lr=lr, momentum=0.9)


def lookahead(model: nn.Module, lr: float) -> Lookahead:
    return Lookahead(torch.optim.Adam(model.parameters(), lr=lr))


def two_calls(optimizer: Any, loss: Callable[[], Tensor]) -> Tensor:
    value = loss()
    optimizer.first_step()
    loss()
    optimizer.second_step()
    return value


def a_closure(optimizer: Any, loss: Callable[[], Tensor]) -> Tensor:
    value = loss()
    optimizer.step(loss)
    return value


def one_call(optimizer: Any, loss: Callable[[], Tensor]) -> Tensor:
    value = loss()
    optimizer.step()
    return value


Step = Callable[[Any, Callable[[], Tensor]], Tensor]
WAYS: dict[str, tuple[Callable[[nn.Module, float], Any], Step, float, float]] = {  # and a good learning rate, and a ruinous one
    "sam-two-calls": (sam, two_calls, 0.03, 30.0),
    "sam-closure": (sam, a_closure, 0.03, 30.0),
    "lookahead": (lookahead, one_call, 3e-3, 10.0),
}


def train(way: str, lr: float, *, watched: bool, steps: int = 60) -> tuple[nn.Module, list[float], Controller | None]:
    make, step, *_ = WAYS[way]
    torch.manual_seed(0)
    model = convnet()
    optimizer = make(model, lr)
    losses = []
    with ExitStack() as stack:
        ctl = stack.enter_context(Controller(model, optimizer, announce=quiet)) if watched else None
        for x, y in batches(steps):
            optimizer.zero_grad()
            value = step(optimizer, partial(backward, model, x, y))
            losses.append(value.item())
            if ctl is not None:
                ctl.step(value)
    return model, losses, ctl


@pytest.mark.parametrize("way", WAYS)
def test_a_healthy_run_is_bit_identical_and_each_step_is_read_once(way: str) -> None:
    good = WAYS[way][2]
    plain, watched = train(way, good, watched=False), train(way, good, watched=True)
    assert watched[2] is not None
    assert not watched[2].decisions
    assert len(watched[2].trace.readings) == 60
    assert same(plain[0].state_dict(), watched[0].state_dict())
    assert plain[1][-1] < 0.7 * plain[1][0]


@pytest.mark.parametrize("way", WAYS)
def test_a_ruinous_learning_rate_is_put_right(way: str) -> None:
    bad = WAYS[way][3]
    plain, rescued = train(way, bad, watched=False), train(way, bad, watched=True)
    assert rescued[2] is not None
    assert rescued[2].decisions[0].action is Action.ROLLBACK
    assert not min(plain[1][-5:]) < 2.0
    assert max(rescued[1][-5:]) < 1.0


def test_both_memories_go_back_and_are_packed_for_another_process() -> None:
    """SAM's climb starts from its own state, and the moments are in that of the optimizer within."""
    model = convnet()
    optimizer = sam(model, 0.03)

    def step(x: Tensor, y: Tensor) -> None:
        two_calls(optimizer, lambda: backward(model, x, y))

    first, second = batches(2)
    step(*first)
    port = TorchOptimizer(optimizer)
    kept = port.capture()
    before = copy.deepcopy([dict(o.state) for o in (optimizer, optimizer.base_optimizer)])
    step(*second)
    for restored in (kept, port.unpack(port.pack(kept))):
        port.restore(restored)
        for own, then in zip((optimizer, optimizer.base_optimizer), before, strict=True):
            assert len(own.state) == len(then) > 0
            assert same([dict(s) for s in own.state.values()], [dict(s) for s in then.values()])


def test_one_that_has_no_hooks_and_wraps_nothing_is_refused() -> None:
    class Bare(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            self.param_groups, self.state, self.defaults = [{"params": list(params), "lr": 0.1}], defaultdict(dict), {}

    model = convnet()
    with pytest.raises(ValueError, match=r"Bare has no step hooks"):
        Controller(model, Bare(model.parameters()))
