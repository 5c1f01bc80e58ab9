"""One run through whole epochs of all images, with adaptlr or without."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import datasets

from experiments.everyday.runs import METHODS, Rows
from experiments.fashion import OPTIMIZERS as FASHION_OPTIMIZERS
from experiments.fashion import accuracy
from experiments.nets import mlp
from experiments.recovery import Run, keep, runs_at_all_lrs
from experiments.sweep import fit

DATA = {"fashion": "FashionMNIST", "mnist": "MNIST"}  # torchvision's names
OPTIMIZERS = {**FASHION_OPTIMIZERS, "sgd-plain": torch.optim.SGD}


def conv_net(*, norm: bool) -> nn.Module:
    """Two convolutions and two layers, as in a first tutorial."""

    def stage(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1), *([nn.BatchNorm2d(b)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*stage(1, 16), *stage(16, 32), nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10))


def dropout_mlp() -> nn.Module:
    hidden = [m for a in (784, 256) for m in (nn.Linear(a, 256), nn.ReLU(), nn.Dropout(0.3))]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 10))


def deep_mlp() -> nn.Module:
    """Seven narrow layers without normalisation, as torch initialises them: slow to begin."""
    hidden = [m for a in (784, *[64] * 6) for m in (nn.Linear(a, 64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


@dataclass(frozen=True, kw_only=True)
class Task:
    """All images of a data set, so many times, in batches.

    Args:
        loops: pairs of optimizer and schedule.
    """

    data: str
    net: Callable[[], nn.Module]
    batch: int
    epochs: int
    loops: tuple[tuple[str, str], ...]


TASKS = {
    "fashion-mlp": Task(data="fashion", net=mlp, batch=128, epochs=2, loops=(("adam", "flat"), ("sgd", "cosine"))),
    "fashion-tanh": Task(
        data="fashion", net=lambda: mlp(act=nn.Tanh), batch=128, epochs=2, loops=(("sgd", "flat"), ("adamw", "one-cycle"))
    ),
    "fashion-dropout": Task(
        data="fashion", net=dropout_mlp, batch=64, epochs=2, loops=(("adamw", "cosine"), ("sgd-plain", "flat"))
    ),
    "fashion-norm": Task(
        data="fashion", net=lambda: conv_net(norm=True), batch=128, epochs=1, loops=(("adam", "one-cycle"), ("sgd", "flat"))
    ),
    "mnist-conv": Task(
        data="mnist", net=lambda: conv_net(norm=False), batch=128, epochs=1, loops=(("sgd", "one-cycle"), ("adamw", "flat"))
    ),
    "mnist-deep": Task(data="mnist", net=deep_mlp, batch=128, epochs=2, loops=(("sgd", "one-cycle"), ("adam", "flat"))),
    "mnist-gru": Task(data="mnist", net=lambda: Rows(nn.GRU), batch=128, epochs=2, loops=(("adam", "flat"), ("rmsprop", "cosine"))),
}


@lru_cache
def images(name: str, folder: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All training images ``[60000, 1, 28, 28]`` and labels, all test images and labels; normalised."""
    parts: list[Tensor] = []
    for train in (True, False):
        data = getattr(datasets, DATA[name])(folder, train=train, download=False)
        parts += [data.data[:, None].float() / 255, data.targets]
    mean, std = parts[0].mean(), parts[0].std()
    return (parts[0] - mean) / std, parts[1], (parts[2] - mean) / std, parts[3]


def all_runs(seeds: Iterable[int], tasks: Iterable[str]) -> list[Run]:
    return runs_at_all_lrs({name: TASKS[name].loops for name in tasks}, seeds, METHODS)


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """Train, and write the run's folder: losses in it are shares of the test images that are taken for something else."""
    warnings.simplefilter("ignore")
    task = TASKS[run.task]
    x, y, x_test, y_test = images(task.data, data)
    torch.manual_seed(run.seed)
    net = task.net()
    begin = 1 - accuracy(net, x_test, y_test)
    net.train()
    batches: list[Tensor] = []

    def batch_loss(order: torch.Generator) -> Tensor:
        if not batches:
            batches.extend(torch.randperm(len(x), generator=order).split(task.batch))
        index = batches.pop()
        return nn.functional.cross_entropy(net(x[index]), y[index])

    steps = task.epochs * -(-len(x) // task.batch)
    did = fit(run, net, [{"params": list(net.parameters())}], OPTIMIZERS, batch_loss, steps=steps)
    keep(run, out, begin=begin, loss=1 - accuracy(net, x_test, y_test), **did)
