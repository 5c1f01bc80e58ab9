"""The user's optimizers: of fastai's own and of torch's. One place knows how a learning rate is written to each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from adaptlr.act.optimizer import OptimizerPort, TorchOptimizer

Groups = Sequence[Sequence[nn.Parameter]]


def _fastai(kind: str, groups: Groups, lrs: Sequence[float]) -> Any:
    from fastai import optimizer as library  # noqa: PLC0415  (fastai takes seconds to load)

    optimizer = getattr(library, kind)([list(g) for g in groups], lr=0.0)
    set_lrs(optimizer, lrs)
    return optimizer


def _torch(kind: Callable[..., torch.optim.Optimizer], groups: Groups, lrs: Sequence[float]) -> torch.optim.Optimizer:
    return kind([{"params": list(g), "lr": lr} for g, lr in zip(groups, lrs, strict=True)], lr=1e-3)


#: Each is made as its library has it; only momentum is given, which torch's SGD has none of.
OPTIMIZERS: dict[str, Callable[[Groups, Sequence[float]], Any]] = {
    "adam": partial(_fastai, "Adam"),
    "sgd": partial(_torch, partial(torch.optim.SGD, momentum=0.9)),
    "adamw": partial(_torch, torch.optim.AdamW),
    "rmsprop": partial(_torch, torch.optim.RMSprop),
    "sgd-plain": partial(_torch, torch.optim.SGD),
    "nesterov": partial(_torch, partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    "adamax": partial(_torch, torch.optim.Adamax),
    "nadam": partial(_torch, torch.optim.NAdam),
    "radam": partial(_torch, torch.optim.RAdam),
    "adagrad": partial(_torch, torch.optim.Adagrad),
    "lamb": partial(_fastai, "Lamb"),
}
SETTINGS = {
    "adam": "fastai.optimizer.Adam (mom 0.9, sqr_mom 0.99, eps 1e-5, decoupled wd 0.01)",
    "sgd": "torch SGD, momentum 0.9",
    "adamw": "torch AdamW, weight decay 0.01",
    "rmsprop": "torch RMSprop, alpha 0.99",
    "sgd-plain": "torch SGD, no momentum",
    "nesterov": "torch SGD, Nesterov momentum 0.9",
    "adamax": "torch Adamax",
    "nadam": "torch NAdam",
    "radam": "torch RAdam",
    "adagrad": "torch Adagrad",
    "lamb": "fastai.optimizer.Lamb (mom 0.9, sqr_mom 0.99, eps 1e-5, wd 0)",
}


def set_lrs(optimizer: Any, lrs: Sequence[float]) -> None:
    """Write each group's learning rate, as the user's scheduler would."""
    for group, lr in zip(
        optimizer.param_groups if isinstance(optimizer, torch.optim.Optimizer) else optimizer.hypers, lrs, strict=True
    ):
        group["lr"] = lr


def port(optimizer: Any) -> OptimizerPort:
    """adaptlr's view of it."""
    if isinstance(optimizer, torch.optim.Optimizer):
        return TorchOptimizer(optimizer)
    from adaptlr.fastai.optimizer import port_of  # noqa: PLC0415

    return port_of(optimizer)


def split_groups(model: nn.Module, n: int) -> list[list[nn.Parameter]]:
    """The model's parameters in ``n`` groups in forward order, by modules: as many modules with weights in each as can be.

    Raises:
        ValueError: there are fewer such modules than groups.
    """
    owners = [m for m in model.modules() if any(True for _ in m.parameters(recurse=False))]
    if len(owners) < n:
        raise ValueError(f"{type(model).__name__} has {len(owners)} modules with weights, too few for {n} groups")
    bounds = [round(i * len(owners) / n) for i in range(n + 1)]
    return [[p for m in owners[a:b] for p in m.parameters(recurse=False)] for a, b in itertools.pairwise(bounds)]
