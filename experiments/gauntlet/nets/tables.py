"""Nets for tables, ratings and sets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Factors(nn.Module):
    """Matrix factorisation with biases (Koren et al. 2009): a row and a bias for each user and item, drawn at a hundredth."""

    def __init__(self, rows: int, *, dim: int = 16) -> None:
        super().__init__()
        self.rows, self.bias, self.mean = nn.Embedding(rows, dim), nn.Embedding(rows, 1), nn.Linear(1, 1)
        for table in (self.rows, self.bias):
            nn.init.normal_(table.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        dot = self.rows(x).prod(1).sum(1, keepdim=True)
        return self.mean(dot + self.bias(x).sum(1))


def dropout_mlp(features: int, *, width: int = 64) -> nn.Module:
    """Two hidden layers with SiLU and dropout."""
    hidden = [m for a in (features, width) for m in (nn.Linear(a, width), nn.SiLU(), nn.Dropout(0.1))]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


def norm_mlp(features: int, classes: int, *, width: int = 48) -> nn.Module:
    """Three hidden layers with LayerNorm and SiLU."""
    hidden = [m for a in (features, width, width) for m in (nn.Linear(a, width), nn.LayerNorm(width), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def selu_mlp(features: int, classes: int, *, width: int = 48) -> nn.Module:
    """Four layers that normalise themselves, initialised as Klambauer et al. (2017) have it."""
    net = nn.Sequential(
        *[m for a in (features, width, width, width) for m in (nn.Linear(a, width), nn.SELU())], nn.Linear(width, classes)
    )
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
            nn.init.zeros_(m.bias)
    return net


class MixedTable(nn.Module):
    """fastai's own net for tables: embedded categories beside numbers that are normalised. Categories are the first columns."""

    def __init__(self, sizes: Sequence[int], numbers: int, classes: int) -> None:
        super().__init__()
        from fastai.tabular.model import TabularModel  # noqa: PLC0415  (fastai takes seconds to load)

        self.categories = len(sizes)
        self.net = TabularModel([(n, min(16, n // 2 + 1)) for n in sizes], numbers, classes, [64, 32])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, : self.categories].long(), x[:, self.categories :])


class PointNet(nn.Module):
    """One MLP for every point of a cloud ``[n, points, d]``, the largest answer of each unit, and a head (Qi et al. 2017)."""

    def __init__(self, classes: int, *, dims: int = 3, width: int = 64) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(dims, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.each(x).amax(1))
