"""Tasks made after all of adaptlr's numbers were chosen, of kinds that no other task is of: signals, point clouds, mixed tables.

``clothes`` needs the images of Fashion-MNIST, and takes others than ``fashion`` and ``garments`` do.
"""

from __future__ import annotations

import math
from functools import partial

import torch

from experiments.fashion import images
from experiments.gauntlet.nets.pixels import Mixer, mobile_net, weight_norm_net
from experiments.gauntlet.nets.sequences import BothWaysGRU, Encoder, Forecaster, conv1d_net
from experiments.gauntlet.nets.tables import MixedTable, PointNet, norm_mlp, selu_mlp
from experiments.gauntlet.tasks.record import Data, Goal, Task, split

_ARMS, _SPIRAL_NOISE = 3, 0.05
_SIGNAL_LENGTH, _SIGNAL_NOISE = 128, 0.8
_POINTS, _CLOUD_NOISE = 32, 0.08
_SIZES, _NUMBERS = (12, 30, 5, 60), 5  # categories of each column; columns of numbers
_WAVE_LENGTH, _WAVE_NOISE = 40, 0.1
_MIRROR_TOKENS, _MIRROR_LENGTH = 12, 12
_CLOTHES = 4096


def _spirals(_: str) -> Data:
    g, n = torch.Generator().manual_seed(11), 4000
    y = torch.randint(_ARMS, (n,), generator=g)
    out = torch.rand(n, generator=g).sqrt()
    angle = 2 * math.pi * (y / _ARMS + 1.25 * out)
    x = out[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return split(2 * (x + _SPIRAL_NOISE * torch.randn(n, 2, generator=g)), y, valid_frac=0.25)


def _signals(_: str) -> Data:
    """Sine, square, saw, chirp and beat, of any frequency and phase, in noise."""
    g, n = torch.Generator().manual_seed(12), 4096
    t = torch.linspace(0, 1, _SIGNAL_LENGTH)
    y = torch.randint(5, (n,), generator=g)
    frequency, phase = 3 + 5 * torch.rand(n, 1, generator=g), torch.rand(n, 1, generator=g)
    turns = frequency * t + phase
    sine = (2 * math.pi * turns).sin()
    chirp = (2 * math.pi * (turns + 1.5 * frequency * t**2)).sin()
    kinds = torch.stack([sine, sine.sign(), 2 * (turns % 1) - 1, chirp, 1.5 * sine * (2 * math.pi * t).sin()], 1)
    x = kinds[torch.arange(n), y] + _SIGNAL_NOISE * torch.randn(n, _SIGNAL_LENGTH, generator=g)
    return split(x[:, None], y, valid_frac=0.25)


def _clouds(_: str) -> Data:
    """Points on spheres, cubes, cylinders and rings, turned at random about the vertical."""
    g, n = torch.Generator().manual_seed(13), 4096
    y = torch.randint(4, (n,), generator=g)
    raw = torch.randn(n, _POINTS, 3, generator=g)
    sphere = raw / raw.norm(dim=-1, keepdim=True)
    cube = raw.clamp(-1, 1) / raw.abs().amax(-1, keepdim=True).clamp(max=1)
    flat = raw[..., :2] / raw[..., :2].norm(dim=-1, keepdim=True)
    height = 2 * torch.rand(n, _POINTS, 1, generator=g) - 1
    kinds = torch.stack([sphere, cube, torch.cat([flat, height], -1), torch.cat([flat, 0.2 * height], -1)], 1)
    x = kinds[torch.arange(n), y] * (0.6 + 0.8 * torch.rand(n, 1, 1, generator=g))
    turn = 2 * math.pi * torch.rand(n, 1, generator=g)
    a, b = x[..., 0].clone(), x[..., 1].clone()
    x[..., 0], x[..., 1] = turn.cos() * a - turn.sin() * b, turn.sin() * a + turn.cos() * b
    return split(x + _CLOUD_NOISE * torch.randn(x.shape, generator=g), y, valid_frac=0.25)


def _mixed(_: str) -> Data:
    """A yes or no that hangs on categories, on numbers, and on both together."""
    g, n = torch.Generator().manual_seed(14), 6000
    categories = torch.stack([torch.randint(size, (n,), generator=g) for size in _SIZES], 1)
    numbers = torch.randn(n, _NUMBERS, generator=g)
    worth = sum(torch.randn(size, generator=g)[categories[:, i]] for i, size in enumerate(_SIZES))
    slope = torch.randn(_SIZES[0], _NUMBERS, generator=g)[categories[:, 0]]
    score = worth + (slope * numbers).sum(1) + 0.5 * torch.randn(n, generator=g)
    return split(torch.cat([categories.float(), numbers], 1), (score > 0).long(), valid_frac=0.25)


def _waves(_: str) -> Data:
    """Two sines of unknown frequencies in noise: the next value is to be told, at every step."""
    g, n = torch.Generator().manual_seed(15), 4096
    t = torch.arange(_WAVE_LENGTH + 1.0)
    parts = [(0.15 + 0.6 * torch.rand(n, 1, generator=g)) * t + 2 * math.pi * torch.rand(n, 1, generator=g) for _each in range(2)]
    x = (parts[0].sin() + parts[1].sin()) + _WAVE_NOISE * torch.randn(n, _WAVE_LENGTH + 1, generator=g)
    return split(x[:, :-1, None], x[:, 1:], valid_frac=0.25)


def _mirror(_: str) -> Data:
    """The sequence backwards, each token moved on by one."""
    g = torch.Generator().manual_seed(16)
    x = torch.randint(_MIRROR_TOKENS, (6000, _MIRROR_LENGTH), generator=g)
    return split(x, (x.flip(1) + 1) % _MIRROR_TOKENS, valid_frac=0.25)


def _clothes(folder: str) -> Data:
    x, y, x_valid, y_valid = images(folder, 2 * _CLOTHES, 2 * _CLOTHES)
    late = slice(_CLOTHES, None)
    return Data(x=x[late], y=y[late], x_valid=x_valid[late][:2048], y_valid=y_valid[late][:2048])


SPIRALS = Task(
    name="spirals",
    load=_spirals,
    nets={"norm-mlp": partial(norm_mlp, 2, _ARMS), "selu-mlp": partial(selu_mlp, 2, _ARMS)},
    steps=400,
    batch=64,
)
SIGNALS = Task(
    name="signals", load=_signals, nets={"conv1d": partial(conv1d_net, 5), "gru": partial(BothWaysGRU, 5)}, steps=300, batch=32
)
CLOUDS = Task(name="clouds", load=_clouds, nets={"pointnet": partial(PointNet, 4)}, steps=300, batch=32)
MIXED = Task(name="mixed", load=_mixed, nets={"embeddings": partial(MixedTable, _SIZES, _NUMBERS, 2)}, steps=300, batch=64)
WAVES = Task(name="waves", load=_waves, nets={"forecaster": Forecaster}, steps=250, batch=32, goal=Goal.NUMBER)
MIRROR = Task(
    name="mirror", load=_mirror, nets={"encoder": partial(Encoder, _MIRROR_TOKENS, _MIRROR_LENGTH)}, steps=300, batch=32, best=1.0
)
CLOTHES = Task(
    name="clothes",
    load=_clothes,
    nets={"mobile": mobile_net, "mixer": Mixer, "weight-norm": weight_norm_net},
    steps=200,
    batch=32,
)

FRESH: tuple[Task, ...] = (SPIRALS, SIGNALS, CLOUDS, MIXED, WAVES, MIRROR, CLOTHES)
