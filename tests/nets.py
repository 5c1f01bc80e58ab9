"""Nets, data and loops that several tests train: small, on scikit-learn's handwritten digits."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from adaptlr import Controller

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
}


@lru_cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 images [n, 1, 8, 8] and their labels."""
    pixels, targets = load_digits(return_X_y=True)
    return torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16 - 0.3, torch.tensor(targets)


def batches(steps: int, seed: int = 0, size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = digits()
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        pick = torch.randint(0, len(x), (size,), generator=order)
        yield x[pick], y[pick]


def with_bad(data: Iterable[tuple[Tensor, Tensor]], bad: Container[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches, of which those with these numbers have inputs that are not finite."""
    for i, (x, y) in enumerate(data):
        yield (x * math.nan if i in bad else x), y


def meanwhile(
    data: Iterable[tuple[Tensor, Tensor]], step: int, do: Callable[[Tensor, Tensor], object]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches; ``do`` is called with that of ``step`` before it is trained on."""
    for i, (x, y) in enumerate(data):
        if i == step:
            do(x, y)
        yield x, y


def convnet(act: Callable[[], nn.Module] = nn.ReLU, *, norm: bool = True, dropout: float = 0.0, width: int = 8) -> nn.Sequential:
    """Two convolutions and two linear layers."""

    def after(channels: int) -> list[nn.Module]:
        return [*([nn.BatchNorm2d(channels)] if norm else []), act(), *([nn.Dropout(dropout)] if dropout else [])]

    return nn.Sequential(
        nn.Conv2d(1, width, 3, 1, 1),
        *after(width),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        *after(2 * width),
        nn.Flatten(),
        nn.Linear(32 * width, 32),
        act(),
        nn.Linear(32, 10),
    )


@dataclass
class Run:
    """What a run leaves behind, for comparing bit by bit."""

    losses: list[float] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    rng: tuple[Any, ...] = ()
    controller: Controller | None = None


def quiet(_: object) -> None:
    """Announces nothing."""


def backward(model: nn.Module, x: Tensor, y: Tensor, loss_of: Callable[..., Tensor] = nn.functional.cross_entropy) -> Tensor:
    """The loss of a batch, whose gradients are there."""
    loss: Tensor = loss_of(model(x), y)
    loss.backward()
    return loss


def stepped(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Iterable[tuple[Tensor, Tensor]],
    loss_of: Callable[..., Tensor] = nn.functional.cross_entropy,
) -> Iterator[Tensor]:
    """The loss of each batch, once the optimizer has stepped."""
    for x, y in data:
        optimizer.zero_grad()
        loss = backward(model, x, y, loss_of)
        optimizer.step()
        yield loss


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Iterable[tuple[Tensor, Tensor]],
    ctl: Controller | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    loss_of: Callable[..., Tensor] = nn.functional.cross_entropy,
) -> list[float]:
    """The loop of :func:`train`, a step for each batch: losses."""
    losses = []
    for loss in stepped(model, optimizer, data, loss_of):
        if ctl is not None:
            ctl.step(loss)
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return losses


def went_on_and_resumed(at: int, *, steps: int = 60, device: str = "cpu") -> tuple[Any, Any]:
    """(model, optimizer, decisions) of a run at a ruinous learning rate that went on after a checkpoint was taken, and of one that
    began there. On a GPU taking it hurries what is on its way, so that a run without one is another."""
    data = [(x.to(device), y.to(device)) for x, y in batches(steps)]

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, Controller]:
        torch.manual_seed(0)
        model = convnet().to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
        return model, optimizer, Controller(model, optimizer, announce=quiet)

    ends = []
    model, optimizer, ctl = fresh()
    with ctl:
        fit(model, optimizer, data[:at], ctl)
        state = ctl.state_dict()  # first: what is on its way is carried out
        kept = copy.deepcopy((model.state_dict(), optimizer.state_dict(), state))
        fit(model, optimizer, data[at:], ctl)
    ends.append((model.state_dict(), optimizer.state_dict(), [(d.step, d.action) for d in ctl.decisions]))
    model, optimizer, ctl = fresh()
    for part, saved in zip((model, optimizer, ctl), kept, strict=True):
        part.load_state_dict(saved)
    with ctl:
        fit(model, optimizer, data[at:], ctl)
    ends.append((model.state_dict(), optimizer.state_dict(), [(d.step, d.action) for d in ctl.decisions]))
    return ends[0], ends[1]


def train(
    optimizer: str = "adam",
    lr: float = 1e-3,
    *,
    steps: int = 30,
    one_cycle: bool = False,
    controller: dict[str, Any] | None = None,
    model: nn.Module | None = None,
    data: Iterable[tuple[Tensor, Tensor]] | None = None,
) -> Run:
    """Train, seeded; with a Controller made of these keyword arguments if any are given. ``data`` is as many batches as steps."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    model = model if model is not None else convnet(dropout=0.2)
    model.train()
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps + 1) if one_cycle else None
    run = Run(controller=None if controller is None else Controller(model, opt, **controller))
    if run.controller is not None:
        run.controller.__enter__()
    run.losses = fit(model, opt, batches(steps) if data is None else data, run.controller, scheduler)
    if run.controller is not None:
        run.controller.close()
    run.state = {"model": model.state_dict(), "optimizer": opt.state_dict(), "lr": [g["lr"] for g in opt.param_groups]}
    run.rng = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    return run


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


def same(a: Any, b: Any) -> bool:
    """Equal, bit by bit, through nested containers."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
