"""What a model tells of itself before its first step."""

from __future__ import annotations

import math
import statistics

import torch
from torch import nn

from adaptlr.measure import shards
from adaptlr.measure.kinds import fan_in

_TENSORS, _ENTRIES = 16, 1024  # of a model, the largest; and of each of them
_GUESSED = (
    0.97,
    1.3,
)  # shares of what guessing costs, between which the loss of a net is that has learned nothing, as in judge.cold


def guess(model: nn.Module) -> float | None:
    """The cross entropy of guessing among as many answers as the last layer has; of one, as in regression, nothing is known."""
    last = [p for p in model.parameters() if p.ndim > 1][-1:]
    return math.log(last[0].shape[0]) if last and last[0].shape[0] > 1 else None


def is_untaught(loss: float, guess: float | None) -> bool:
    """A first loss that is that of guessing; among two answers, where the last layer does not tell how many there are."""
    least, most = _GUESSED
    costs = guess if guess is not None else math.log(2)
    return least * costs <= loss <= most * costs


@torch.no_grad()
def size(model: nn.Module) -> float | None:
    """RMS of the trained weights times the root of their fan-in, the median over the largest tensors; None if there are none.

    Initialisations make it 0.6 to 2.3, and runs that trained well 0.5 to 7. Not of embeddings, of which a row is read at a time.
    Infinite if a weight that was read is not finite.
    """
    squares = [float(shards.sample(p, _ENTRIES).double().square().mean()) * fan_in(p) for p in _weights(model)]
    if not squares:
        return None
    return math.sqrt(statistics.median(squares)) if all(map(math.isfinite, squares)) else math.inf


def _weights(model: nn.Module) -> list[nn.Parameter]:
    tables = {id(p) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for p in m.parameters(recurse=False)}
    trained = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2 and p.numel() and id(p) not in tables]
    return sorted(trained, key=lambda p: p.numel(), reverse=True)[:_TENSORS]
