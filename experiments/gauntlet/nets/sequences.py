"""Nets for sequences of tokens and of numbers."""

from __future__ import annotations

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


class Forecaster(nn.Module):
    """An LSTM over rows of numbers that predicts, at every step, the next row's first number."""

    def __init__(self, features: int = 1, *, width: int = 48) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class BothWaysGRU(nn.Module):
    """Windows of a signal ``[n, 1, t]`` through a GRU that reads them from both ends, mean pooled."""

    def __init__(self, classes: int, *, width: int = 32) -> None:
        super().__init__()
        self.windows = nn.Conv1d(1, 16, 8, 4)
        self.rnn = nn.GRU(16, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.windows(x).transpose(1, 2))[0].mean(1))


def conv1d_net(classes: int, *, width: int = 16) -> nn.Module:
    """Strided convolutions along a signal ``[n, 1, t]``, BatchNorm, ReLU."""
    dims = [(1, width), (width, 2 * width), (2 * width, 2 * width)]
    layers = [m for a, b in dims for m in (nn.Conv1d(a, b, 7, 2, 3, bias=False), nn.BatchNorm1d(b), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, classes))


class Encoder(nn.Module):
    """A pre-norm transformer that sees the whole sequence and names a token at every position."""

    def __init__(self, vocabulary: int, length: int, *, dim: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.pos = nn.Embedding(vocabulary, dim), nn.Embedding(length, dim)
        self.blocks = nn.Sequential(*[Attention(dim, 4) for _ in range(depth)])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x) + self.pos.weight))
