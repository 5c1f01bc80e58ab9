"""Fashion-MNIST from a folder in torchvision's layout, as tensors, and one training run on it in plain PyTorch.

The run is the user's: adaptlr comes in from outside, as ``watch``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import datasets

from experiments.nets import NETS

BATCH = 64
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


Watch = Callable[[nn.Module, torch.optim.Optimizer], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: a net, an optimizer, a schedule, a learning rate, a seed."""

    net: str
    optimizer: str
    schedule: str  # "flat", "one-cycle" or "cosine"
    lr: float
    seed: int
    epochs: int = 3


@dataclass(frozen=True, kw_only=True)
class Result:
    accuracy: float  # on the validation images, at the end of training
    losses: tuple[float, ...]  # one a step


@lru_cache
def images(folder: str, n_train: int = 4096, n_valid: int = 4096) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images ``[n, 1, 28, 28]`` and labels, validation images and labels; the first ones of each part, normalised."""
    parts: list[Tensor] = []
    for train, n in ((True, n_train), (False, n_valid)):
        data = datasets.FashionMNIST(folder, train=train, download=False)
        parts += [(data.data[:n, None].float() / 255 - 0.286) / 0.353, data.targets[:n]]
    return parts[0], parts[1], parts[2], parts[3]


def schedule(name: str, steps: int) -> Callable[[int], float]:
    """The learning rate's multiplier at a step. One-cycle as fastai has it: up from 1/25 in a quarter, down to 1e-5."""

    def cos(a: float, b: float, at: float) -> float:
        return a + (b - a) * (1 - math.cos(math.pi * at)) / 2

    def one_cycle(step: int) -> float:
        at = step / steps
        return cos(1 / 25, 1.0, at / 0.25) if at < 0.25 else cos(1.0, 1e-5, (at - 0.25) / 0.75)

    shapes: dict[str, Callable[[int], float]] = {
        "flat": lambda _: 1.0,
        "one-cycle": one_cycle,
        "cosine": lambda step: cos(1.0, 0.0, step / steps),
    }
    return shapes[name]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    model.eval()
    with torch.no_grad():
        hits = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(512), y.split(512), strict=True))
    return hits / len(y)


def train(cell: Cell, folder: str = "data", watch: Watch | None = None) -> Result:
    """Run one cell. The initial weights and the batches depend on the seed alone."""
    x, y, x_valid, y_valid = images(folder)
    torch.manual_seed(cell.seed)
    model = NETS[cell.net]()
    model.train()
    optimizer = OPTIMIZERS[cell.optimizer](model.parameters(), lr=cell.lr)
    steps = cell.epochs * (len(x) // BATCH)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(cell.schedule, steps))
    order = torch.Generator().manual_seed(cell.seed)
    losses = []
    with watch(model, optimizer) if watch else nullcontext() as watcher:
        for _ in range(cell.epochs):
            for batch in torch.randperm(len(x), generator=order).split(BATCH):
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if watcher is not None:
                    watcher.step(loss)
                scheduler.step()
                losses.append(loss.item())
    return Result(accuracy=accuracy(model, x_valid, y_valid), losses=tuple(losses))
