"""Functions to be fitted: curves, images, the solution of an equation, motion, waves to go on with, prices as they are.

Their losses fall to a small share of what they begin with, and go on falling.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from sklearn.datasets import load_diabetes, make_friedman1
from torch import Tensor, nn
from torch.nn import functional

from experiments.other_losses.task import Task, digits, mlp


def _squared_error(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.mse_loss(net(x), y)


# ---------------------------------------------------------------------- targets as they are, far from zero


def _readings() -> tuple[Tensor, ...]:
    """Friedman's function of ten numbers (Friedman 1991), 14 in the mean, give or take 5."""
    x, y = make_friedman1(1500, noise=1.0, random_state=5)
    return torch.tensor(x - 0.5).float() / 0.29, torch.tensor(y).float()[:, None]


def _prices() -> tuple[Tensor, ...]:
    x, y = _readings()
    return x, 200_000 + 15_000 * y


def _of_the_mean(valid: tuple[Tensor, ...]) -> float:
    """The squared error of whoever knows no more than the mean: to learn that is no merit."""
    return float(valid[1].var(correction=0))


# ---------------------------------------------------------------------- a curve, all of it in each step


def _curve() -> tuple[Tensor, ...]:
    x = torch.linspace(-3, 3, 400)[torch.randperm(400, generator=torch.Generator().manual_seed(1))][:, None]
    return x, torch.sin(2 * x) + 0.3 * torch.sin(7 * x)


# ---------------------------------------------------------------------- physics: a loss of derivatives


def _points() -> tuple[Tensor, ...]:
    return (torch.rand(1200, 2, generator=torch.Generator().manual_seed(2)),)


def _residual(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Of Poisson's equation on a square whose edge is held at zero (Raissi et al. 2019)."""
    (at,) = batch
    with torch.enable_grad():  # derivatives of the net are part of the loss, of the validation's too
        at = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(at).sum(), at, create_graph=True)
        bends = [torch.autograd.grad(slope[:, i].sum(), at, create_graph=True)[0][:, i] for i in range(2)]
        force = -2 * math.pi**2 * torch.sin(math.pi * at.detach()).prod(1)
        along = at[:, :1].detach()
        zero = torch.zeros_like(along)
        edge = torch.cat([torch.cat(pair, 1) for pair in ((along, zero), (along, zero + 1), (zero, along), (zero + 1, along))])
        return ((bends[0] + bends[1] - force) ** 2).mean() / 100 + 10 * (net(edge) ** 2).mean()


# ---------------------------------------------------------------------- an image as a function of the place


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


def _siren() -> nn.Module:
    """Sitzmann et al. 2020, with their initialisation."""
    net = nn.Sequential(nn.Linear(2, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, 1))
    for i, layer in enumerate(m for m in net if isinstance(m, nn.Linear)):
        bound = 0.5 if i == 0 else math.sqrt(6 / 64) / 30
        nn.init.uniform_(layer.weight, -bound, bound)
    return net


class FourierFeatures(nn.Module):
    """Tancik et al. 2020."""

    waves: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", 3 * torch.randn(2, 32, generator=torch.Generator().manual_seed(4)))
        self.net = mlp(64, 96, 96, 1)

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * x @ self.waves
        return self.net(torch.cat([angle.sin(), angle.cos()], 1))


@lru_cache
def _picture() -> tuple[Tensor, ...]:
    """Places [4096, 2] in [-1, 1] and what is seen there [4096, 1]: sixteen digits side by side, enlarged."""
    image = digits()[0][:16].view(4, 4, 8, 8).permute(0, 2, 1, 3).reshape(1, 1, 32, 32)
    image = functional.interpolate(image, size=(64, 64), mode="bicubic", align_corners=False)
    axis = torch.linspace(-1, 1, 64)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(3))
    return places[order], (2 * image.view(-1, 1) - 1)[order]


# ---------------------------------------------------------------------- waves to go on with


@lru_cache
def _waves() -> tuple[Tensor, ...]:
    """Forty values [n, 40, 1] of three waves with some noise, and the next [n, 1]."""
    g, n = torch.Generator().manual_seed(5), 1600
    phase, speed = 6.28 * torch.rand(n, 3, 1, generator=g), 0.1 + 0.6 * torch.rand(n, 3, 1, generator=g)
    seen = torch.sin(speed * torch.arange(41.0) + phase).sum(1) + 0.1 * torch.randn(n, 41, generator=g)
    return seen[:, :40, None], seen[:, 40:]


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(1, 48, batch_first=True), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x)[0][:, -1])


class Convolved(nn.Module):
    """Dilated convolutions that see the past only (Bai et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = nn.Conv1d(1, 32, 1), nn.Linear(32, 1)
        self.body = nn.ModuleList(nn.Conv1d(32, 32, 3, dilation=2**i) for i in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x.transpose(1, 2))
        for i, layer in enumerate(self.body):
            h = h + torch.relu(layer(functional.pad(h, (2 * 2**i, 0))))
        return self.out(h[:, :, -1])


# ---------------------------------------------------------------------- how a pendulum goes on


def _pendulum() -> tuple[Tensor, ...]:
    """Angle, speed and torque [n, 4], and how angle and speed change by the next time [n, 3]."""
    g, n = torch.Generator().manual_seed(20), 3000
    angle, speed, torque = (torch.rand(n, generator=g) * 2 * top - top for top in (3.14, 2.0, 1.0))
    faster = speed + 0.3 * (torque - angle.sin())
    later = angle + 0.3 * faster
    change = torch.stack([later.cos() - angle.cos(), later.sin() - angle.sin(), faster - speed], 1)
    return torch.stack([angle.cos(), angle.sin(), speed, torque], 1), change


# ---------------------------------------------------------------------- numbers as they are: the loss begins at 29,000


def _as_they_are() -> tuple[Tensor, ...]:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(18))
    inputs = torch.from_numpy(x).float()[order]
    return (inputs - inputs.mean(0)) / inputs.std(0), torch.from_numpy(y).float()[order, None]


FUNCTIONS = (
    Task(
        name="prices",
        what="squared error of some 10^11, on targets of 200,000 and more; over the mean's",
        data=_prices,
        n_train=1100,
        net=lambda: mlp(10, 64, 64, 1),
        loss=_squared_error,
        steps=300,
        loops=(("adam", "flat"), ("adam", "cosine")),
        begins_at=_of_the_mean,
    ),
    Task(
        name="readings",
        what="squared error of some 200, on targets of 14, give or take 5; over the mean's",
        data=_readings,
        n_train=1100,
        net=lambda: mlp(10, 64, 64, 1),
        loss=_squared_error,
        steps=300,
        loops=(("adam", "flat"), ("sgd", "cosine")),
        begins_at=_of_the_mean,
    ),
    Task(
        name="curve",
        what="squared error on a curve, all of it in each step",
        data=_curve,
        n_train=256,
        net=lambda: mlp(1, 64, 64, 1, act=nn.Tanh),
        loss=_squared_error,
        steps=300,
        batch=0,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="physics",
        what="what an equation's solution leaves over",
        data=_points,
        n_train=1000,
        net=lambda: mlp(2, 32, 32, 1, act=nn.Tanh),
        loss=_residual,
        steps=300,
        batch=128,
        loops=(("adam", "cosine"), ("adam", "flat")),
    ),
    Task(
        name="siren",
        what="squared error on an image as a function; sines",
        data=_picture,
        n_train=3072,
        net=_siren,
        loss=_squared_error,
        steps=250,
        batch=512,
        loops=(("adam", "flat"), ("adam", "cosine")),
    ),
    Task(
        name="fourier",
        what="the same; Fourier features",
        data=_picture,
        n_train=3072,
        net=FourierFeatures,
        loss=_squared_error,
        steps=250,
        batch=512,
        loops=(("adam", "flat"), ("sgd", "one-cycle")),
    ),
    Task(
        name="forecast",
        what="squared error on the next value; a GRU",
        data=_waves,
        n_train=1200,
        net=Forecaster,
        loss=_squared_error,
        steps=250,
        loops=(("adam", "one-cycle"), ("rmsprop", "flat")),
    ),
    Task(
        name="convolved",
        what="the same; dilated convolutions",
        data=_waves,
        n_train=1200,
        net=Convolved,
        loss=_squared_error,
        steps=250,
        loops=(("adamw", "cosine"), ("sgd", "flat")),
    ),
    Task(
        name="motion",
        what="squared error on how a pendulum goes on",
        data=_pendulum,
        n_train=2400,
        net=lambda: mlp(4, 64, 64, 3, act=nn.Tanh),
        loss=_squared_error,
        steps=300,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="raw",
        what="squared error of some 30,000, on numbers as they are",
        data=_as_they_are,
        n_train=342,
        net=lambda: mlp(10, 64, 64, 1),
        loss=_squared_error,
        steps=240,
        batch=32,
        loops=(("adam", "flat"), ("adamw", "one-cycle")),
    ),
)
