"""One small training run, cut over ranks; without normalisation, so that ranks together do what one process does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from adaptlr import Controller

STEPS, BATCH = 40, 32


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))


def adam(net: nn.Module, lr: float, *, low: float | None = None) -> torch.optim.Adam:
    """Two groups; ``low`` is the first one's learning rate, if it is another."""
    params = list(net.parameters())
    return torch.optim.Adam([{"params": params[:2], "lr": low or lr}, {"params": params[2:], "lr": lr}])


def batch(step: int, rank: int = 0, size: int = 1) -> tuple[Tensor, Tensor]:
    """This rank's part of the batch; of one rank, the whole."""
    g = torch.Generator().manual_seed(step)
    y = torch.arange(BATCH) % 4
    x = torch.randn(BATCH, 20, generator=g)
    x[torch.arange(BATCH), y] += 2.0
    return x[rank::size].contiguous(), y[rank::size].contiguous()


Spoil = Callable[[int, Tensor], Tensor]


def train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    ctl: Controller | None,
    *,
    rank: int = 0,
    size: int = 1,
    steps: range = range(STEPS),
    spoil: Spoil = lambda step, x: x,
) -> list[float]:
    losses = []
    for step in steps:
        x, y = batch(step, rank, size)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(spoil(step, x)), y)
        loss.backward()
        optimizer.step()
        if ctl is not None:
            ctl.step(loss, epoch=step / 10)
        losses.append(loss.item())
    return losses


def weights(net: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return [p.full_tensor().clone() if hasattr(p, "full_tensor") else p.detach().clone() for p in net.parameters()]  # type: ignore[attr-defined]


def told(ctl: Controller, net: nn.Module) -> dict[str, Any]:
    """What must be the same on all ranks."""
    return {
        "trace": [repr(r) for r in ctl.trace],
        "decisions": [(d.step, str(d.action), [str(k) for k in d.findings], d.restored_step) for d in ctl.decisions],
        "scales": ctl.scales,
        "provenance": [str(g.provenance) for g in ctl.trace.readings[0].groups] if ctl.trace.readings else [],
        "ratios": [[g.update_ratio for g in r.groups] for r in ctl.trace.readings],
        "rho": [[g.distance_index for g in r.groups] for r in ctl.trace.readings],
        "losses": [r.loss for r in ctl.trace.readings],
        "quiet": [[s.quiet_frac for s in r.stages] for r in ctl.trace.readings],
        "weights": weights(net),
    }
