"""Nets for token sequences, tables, ratings and pixels. Those that other experiments use too are in :mod:`experiments.nets`."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from experiments.nets import Attention


class Recurrent(nn.Module):
    """Embedding, one LSTM or GRU layer, and a linear layer on its last state."""

    def __init__(self, vocabulary: int, classes: int, *, cell: str = "lstm", dim: int = 32, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.rnn = (nn.LSTM if cell == "lstm" else nn.GRU)(dim, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


class CausalTransformer(nn.Module):
    """Predicts, at every position from the second on, the next token."""

    def __init__(self, vocabulary: int, length: int, *, dim: int = 32, depth: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.pos = nn.Parameter(torch.randn(1, length, dim) * 0.02)
        self.blocks = nn.Sequential(*[Attention(dim, heads, causal=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.pos)))[:, 1:]


class Bag(nn.Module):
    """The mean of word vectors and a small head: most rows of its first weight get no gradient in a step."""

    def __init__(self, vocabulary: int, classes: int, *, dim: int = 32, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(vocabulary, dim, mode="mean")
        self.hidden = nn.Linear(dim, width)
        self.act = nn.ReLU()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.hidden(self.embed(x))))


class CharacterLSTM(nn.Module):
    """Two LSTM layers that predict, at every position, the next token."""

    def __init__(self, vocabulary: int, *, dim: int = 32, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.rnn = nn.LSTM(dim, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


class VanillaRNN(nn.Module):
    """A tanh recurrent layer without gates, and a linear layer on its last state."""

    def __init__(self, vocabulary: int, classes: int, *, dim: int = 32, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.rnn = nn.RNN(dim, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


class PostNormEncoder(nn.Module):
    """torch's own encoder layers as they come, normalised after each block (Vaswani et al. 2017), mean pooled."""

    def __init__(self, vocabulary: int, classes: int, length: int, *, dim: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.pos = nn.Parameter(torch.randn(1, length, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 2, dim_feedforward=64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.pos).mean(1))


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


def dropout_mlp(features: int, *, width: int = 64) -> nn.Module:
    """Two hidden layers with SiLU and dropout."""
    hidden = [m for a in (features, width) for m in (nn.Linear(a, width), nn.SiLU(), nn.Dropout(0.1))]
    return nn.Sequential(*hidden, nn.Linear(width, 1))
