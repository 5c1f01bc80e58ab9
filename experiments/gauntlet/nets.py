"""Nets for token sequences: recurrent, attention, bag of words. The nets for images are in :mod:`experiments.nets`."""

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
