"""The small nets that the experiments break: with BatchNorm, without, fully connected, attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions (He et al. 2016)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(h + self.shortcut(x))


def slim_resnet(channels: int = 1, classes: int = 10, width: int = 16) -> nn.Module:
    """A ResNet with BatchNorm: a 3x3 stem and four stages of one block each."""
    widths = [width, width, 2 * width, 4 * width, 4 * width]
    blocks = [_Block(a, b, s) for a, b, s in zip(widths[:-1], widths[1:], (2, 2, 2, 1), strict=True)]
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(stem, *blocks, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)))


def vgg_like(channels: int = 1, classes: int = 10, width: int = 16, size: int = 28) -> nn.Module:
    """Convolutions and ReLU with no normalisation at all, for square images, initialised as He et al. (2015) have it."""
    layers: list[nn.Module] = []
    c = channels
    for w in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(c, w, 3, 1, 1), nn.ReLU(), nn.Conv2d(w, w, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
        c = w
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(c * (size // 8) ** 2, 128), nn.ReLU(), nn.Linear(128, classes))
    for m in net:
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, m.bias))
    return net


def mlp(
    channels: int = 1, classes: int = 10, size: int = 28, width: int = 256, act: Callable[[], nn.Module] = nn.ReLU
) -> nn.Module:
    """Three hidden layers."""
    dims = [channels * size * size, width, width, width]
    hidden = [m for a, b in itertools.pairwise(dims) for m in (nn.Linear(a, b), act())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, classes))


class Attention(nn.Module):
    """A pre-norm transformer block with GELU; if causal, a position sees none after it."""

    def __init__(self, dim: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(h)
        return x + self.mlp(self.norm2(x))


class SmallViT(nn.Module):
    """A vision transformer on 28x28 images in patches of 7x7 (Dosovitskiy et al. 2021), mean pooled."""

    def __init__(self, channels: int = 1, classes: int = 10, dim: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, dim, 7, 7)
        self.pos = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        self.blocks = nn.Sequential(*[Attention(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


NETS: dict[str, Callable[[], nn.Module]] = {"resnet": slim_resnet, "vgg": vgg_like, "mlp": mlp, "vit": SmallViT}
