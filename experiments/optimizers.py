"""Two optimizers that torch does not have, or not for every weight: Lion, and Muon with Adam for the first and the last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Lion(torch.optim.Optimizer):
    """Every weight moves by the learning rate, up or down.

    Source: Chen et al. 2023, algorithm 2.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 3e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in (p for p in group["params"] if p.grad is not None):
                mean = _averages(self.state[p], p, "mean")[0]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(mean.lerp(p.grad, 1 - beta1).sign_(), alpha=-group["lr"])
                mean.lerp_(p.grad, 1 - beta2)


class Muon(torch.optim.Optimizer):
    """Matrices between the first and the last move by an orthogonal matrix, all else as under Adam at a twentieth of the rate.

    Two groups, the matrices first. Kernels of convolutions are flattened to matrices.

    Source: Jordan et al. 2024; the Newton-Schulz iteration, its coefficients and the scale of a step are theirs.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95) -> None:
        weights: list[nn.Parameter] = [p for group in params for p in group["params"]]
        matrices = [p for p in weights if p.ndim >= 2][1:-1]
        inner = {id(p) for p in matrices}
        others = [p for p in weights if id(p) not in inner]
        groups = [{"params": matrices, "lr": lr, "orthogonal": True}, {"params": others, "lr": lr / 20, "orthogonal": False}]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if group["orthogonal"]:
                    mean = _averages(state, p, "mean")[0].lerp_(p.grad, 1 - group["momentum"])
                    along = p.grad.lerp(mean, group["momentum"]).flatten(1)
                    wide = max(1.0, along.shape[0] / along.shape[1]) ** 0.5
                    p.add_(_orthogonal(along).view_as(p), alpha=-group["lr"] * wide)
                else:
                    _adam_step(state, p, group["lr"])


def _averages(state: dict[str, Any], p: Tensor, *names: str) -> list[Tensor]:
    for name in names:
        if name not in state:
            state[name] = torch.zeros_like(p)
    return [state[name] for name in names]


def _adam_step(state: dict[str, Any], p: Tensor, lr: float) -> None:
    assert p.grad is not None
    mean, square = _averages(state, p, "mean", "square")
    state["step"] = step = state.get("step", 0) + 1
    mean.lerp_(p.grad, 0.1)
    square.lerp_(p.grad * p.grad, 0.05)
    p.addcdiv_(mean / (1 - 0.9**step), (square / (1 - 0.95**step)).sqrt() + 1e-8, value=-lr)


def _orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the closest matrix [n, m] with orthogonal rows, or columns: its singular values are 0.7 to 1.2."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
