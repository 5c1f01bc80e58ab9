"""What a task is, and what several are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Any, tuple[Tensor, ...]], Tensor]

N_DIGITS = 1400  # for training


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task.

    Args:
        data: makes its tensors, examples first; the same ones each time.
        n_train: how many of them are for training; the rest validates.
        net: makes the network.
        loss: of the network and a batch; what trains, and what is validated by.
        batch: examples in a step; 0 for all of them.
        loops: optimizers and schedules that it is trained under.
        begins_at: the loss that counts as the one at the beginning, of the validation part; None is the untrained net's.
    """

    name: str
    what: str
    data: Callable[[], tuple[Tensor, ...]]
    n_train: int
    net: Callable[[], nn.Module]
    loss: Loss
    steps: int
    batch: int = 64
    loops: tuple[tuple[str, str], ...]
    begins_at: Callable[[tuple[Tensor, ...]], float] | None = None


def mlp(*sizes: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def classify(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.cross_entropy(net(x), y)


Net = TypeVar("Net", bound=nn.Module)


def trained(make: Callable[[], Net], data: tuple[Tensor, ...], loss: Loss, *, lr: float) -> Net:
    """A net that was trained before, the same one each time; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        net = make()
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
        for _ in range(300):
            index = torch.randint(len(data[0]), (64,))
            optimizer.zero_grad()
            loss(net, tuple(t[index] for t in data)).backward()
            optimizer.step()
    return net


@lru_cache
def digits() -> tuple[Tensor, Tensor]:
    """Images [n, 8, 8] in [0, 1] and labels, shuffled."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return (torch.from_numpy(x).float() / 16).view(-1, 8, 8)[order], torch.from_numpy(y).long()[order]
