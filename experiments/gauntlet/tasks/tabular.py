"""Tables: scikit-learn's embedded sets."""

from __future__ import annotations

from functools import partial

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from torch import Tensor, nn

from experiments.gauntlet.tasks.record import Data, Goal, Task, split


def table_net(features: int, outputs: int, width: int = 64, *, norm: bool = False) -> nn.Module:
    """Two hidden layers, with BatchNorm if asked for."""
    layers: list[nn.Module] = []
    for a in (features, width):
        layers += [nn.Linear(a, width), *([nn.BatchNorm1d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _standardised(data: Data, *, targets: bool = False) -> Data:
    """Features (and targets) to mean 0 and standard deviation 1, by the training part's own."""

    def to(a: Tensor, by: Tensor) -> Tensor:
        return (a - by.mean(0)) / by.std(0).clamp_min(1e-6)

    y, y_valid = (to(data.y, data.y), to(data.y_valid, data.y)) if targets else (data.y, data.y_valid)
    return Data(x=to(data.x, data.x), y=y, x_valid=to(data.x_valid, data.x), y_valid=y_valid)


def _cancer(_: str) -> Data:
    x, y = load_breast_cancer(return_X_y=True)
    return _standardised(split(torch.tensor(x, dtype=torch.float32), torch.tensor(y), valid_frac=0.4))


def _wine(_: str) -> Data:
    x, y = load_wine(return_X_y=True)
    return _standardised(split(torch.tensor(x, dtype=torch.float32), torch.tensor(y), valid_frac=0.4))


def _diabetes(_: str) -> Data:
    x, y = load_diabetes(return_X_y=True)
    data = split(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32), valid_frac=0.4)
    return _standardised(data, targets=True)


def _nets(features: int, outputs: int) -> dict:
    return {"mlp": partial(table_net, features, outputs), "mlp-bn": partial(table_net, features, outputs, norm=True)}


CANCER = Task(name="cancer", load=_cancer, nets=_nets(30, 2), steps=120, batch=32)
WINE = Task(name="wine", load=_wine, nets=_nets(13, 3), steps=120, batch=16)
DIABETES = Task(name="diabetes", load=_diabetes, nets=_nets(10, 1), steps=120, batch=32, goal=Goal.NUMBER)
