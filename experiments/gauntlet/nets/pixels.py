"""Nets for images that no other experiment uses; those that others use too are in :mod:`experiments.nets`."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class UNet(nn.Module):
    """One step down and up again with a skip (Ronneberger et al. 2015), GroupNorm; a class a pixel, ``[n, h, w, classes]``."""

    def __init__(self, classes: int = 3, *, width: int = 12) -> None:
        super().__init__()
        self.inner = _double_conv(width, 2 * width)
        self.enter, self.leave = _double_conv(1, width), _double_conv(2 * width, width)
        self.down, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enter(x)
        h = self.up(self.inner(self.down(skip)))
        return self.head(self.leave(torch.cat([skip, h], 1))).permute(0, 2, 3, 1)


def _double_conv(a: int, b: int) -> nn.Module:
    return nn.Sequential(*[m for c in (a, b) for m in (nn.Conv2d(c, b, 3, padding=1), nn.GroupNorm(4, b), nn.SiLU())])


class Autoencoder(nn.Module):
    """Images of 14x14 through 16 numbers and back, as rows of pixels."""

    def __init__(self, *, width: int = 16, code: int = 16) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            *(nn.Conv2d(1, width, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.LeakyReLU(0.1)),
            *(nn.Flatten(), nn.Linear(2 * width * 16, code)),
        )
        self.decode = nn.Sequential(nn.Linear(code, 128), nn.LeakyReLU(0.1), nn.Linear(128, 196))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def tanh_lenet(classes: int = 10) -> nn.Module:
    """Tanh and average pooling throughout (LeCun et al. 1998)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, classes)),
    )


def tanh_mlp(classes: int = 10, *, width: int = 64, depth: int = 8) -> nn.Module:
    """Eight narrow layers of tanh, initialised as Glorot and Bengio (2010) have it."""
    dims = [784, *[width] * depth]
    net = nn.Sequential(
        nn.Flatten(), *[m for a, b in itertools.pairwise(dims) for m in (nn.Linear(a, b), nn.Tanh())], nn.Linear(width, classes)
    )
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight, gain=5 / 3)
            nn.init.zeros_(m.bias)
    return net


class _DepthwiseBlock(nn.Module):
    """Depthwise and pointwise convolutions with a layer scale that starts at almost nothing (Liu et al. 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.mix = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.mix(self.norm(self.spread(x)))


def patch_conv_net(classes: int = 10, *, width: int = 24, depth: int = 3) -> nn.Module:
    """Patches of 4x4 and depthwise blocks, in the manner of ConvNeXt."""
    blocks = [_DepthwiseBlock(width) for _ in range(depth)]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, classes))
    return nn.Sequential(nn.Conv2d(1, width, 4, 4), nn.GroupNorm(1, width), *blocks, *head)


class _InvertedResidual(nn.Module):
    """Widen, convolve each channel alone, weigh the channels, narrow (Howard et al. 2019)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        wide = 3 * c_in
        self.widen = nn.Sequential(nn.Conv2d(c_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish())
        spread = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.spread = nn.Sequential(spread, nn.BatchNorm2d(wide), nn.Hardswish())
        squeeze = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, wide // 4, 1), nn.ReLU(), nn.Conv2d(wide // 4, wide, 1))
        self.weigh = nn.Sequential(*squeeze, nn.Hardsigmoid())
        self.narrow = nn.Sequential(nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.same = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        h = self.spread(self.widen(x))
        h = self.narrow(h * self.weigh(h))
        return x + h if self.same else h


def mobile_net(classes: int = 10, *, width: int = 12) -> nn.Module:
    """Inverted residuals with squeeze and excitation, in the manner of MobileNetV3."""
    stem = (nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish())
    blocks = [_InvertedResidual(a * width, b * width, s) for a, b, s in ((1, 1, 1), (1, 2, 2), (2, 2, 1))]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))


class _MixerBlock(nn.Module):
    """Patches exchange what they have, then channels do (Tolstikhin et al. 2021)."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across = nn.Sequential(nn.Linear(patches, 32), nn.GELU(), nn.Linear(32, patches))
        self.along = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.along(self.norm2(x))


class Mixer(nn.Module):
    """Images of 28x28 in patches of 4x4 through MLPs alone."""

    def __init__(self, classes: int = 10, *, dim: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 4, 4)
        self.blocks = nn.Sequential(*[_MixerBlock(49, dim) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


def weight_norm_net(classes: int = 10, *, width: int = 16) -> nn.Module:
    """Convolutions of which direction and length are learned apart (Salimans and Kingma 2016)."""
    convs = [weight_norm(nn.Conv2d(a, b, 3, 2, 1)) for a, b in itertools.pairwise((1, width, 2 * width, 4 * width))]
    layers = [m for conv in convs for m in (conv, nn.ELU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), weight_norm(nn.Linear(4 * width, classes)))
