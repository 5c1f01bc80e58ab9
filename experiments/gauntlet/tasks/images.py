"""Images: a part of Fashion-MNIST, and scikit-learn's embedded digits, which need no download."""

from __future__ import annotations

from functools import partial

import torch
from sklearn.datasets import load_digits

from experiments.fashion import images
from experiments.gauntlet.tasks.record import Data, Task, split
from experiments.nets import SmallViT, mlp, slim_resnet, vgg_like


def _fashion(folder: str) -> Data:
    x, y, x_valid, y_valid = images(folder)
    return Data(x=x, y=y, x_valid=x_valid[:1536], y_valid=y_valid[:1536])


def _digits(_: str) -> Data:
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)
    return split((x - 4.9) / 6.0, torch.tensor(labels), valid_frac=0.4)


FASHION = Task(
    name="fashion",
    load=_fashion,
    nets={
        "resnet": partial(slim_resnet, width=8),
        "vgg": partial(vgg_like, width=8),
        "mlp": partial(mlp, width=128),
        "vit": partial(SmallViT, dim=48, depth=3),
    },
    steps=160,
    batch=32,
)
DIGITS = Task(
    name="digits",
    load=_digits,
    nets={
        "mlp": partial(mlp, size=8, width=96),
        "resnet": partial(slim_resnet, width=8),
        "vgg": partial(vgg_like, width=8, size=8),
    },
    steps=120,
    batch=32,
)
