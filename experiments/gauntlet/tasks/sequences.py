"""Text-like sequences of tokens, made from a fixed seed, whose best accuracy is known."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from experiments.gauntlet.nets.sequences import Bag, CausalTransformer, Recurrent
from experiments.gauntlet.tasks.record import Data, Task

_N_TRAIN, _N_VALID = 4096, 2048

# -- recall: the class is the token just after a marker; some labels are drawn at random
_RECALL_CLASSES, _RECALL_LENGTH, _RECALL_NOISE = 6, 10, 0.1

# -- markov: each token follows from the one before the last, most of the time
_MARKOV_TOKENS, _MARKOV_LENGTH, _MARKOV_NOISE = 16, 16, 0.2

# -- topics: words of a long-tailed vocabulary, more likely in texts of their own topic. The best accuracy is that of Bayes' rule
# on 200,000 texts, standard error 0.0004
_WORDS, _TOPICS, _WORDS_A_TEXT, _TOPICAL = 2000, 4, 24, 0.35


def _cut(x: Tensor, y: Tensor) -> Data:
    return Data(x=x[:_N_TRAIN], y=y[:_N_TRAIN], x_valid=x[_N_TRAIN:], y_valid=y[_N_TRAIN:])


def _recall(_: str) -> Data:
    g = torch.Generator().manual_seed(1)
    n = _N_TRAIN + _N_VALID
    x = torch.randint(_RECALL_CLASSES, (n, _RECALL_LENGTH), generator=g)
    at = torch.randint(_RECALL_LENGTH - 1, (n, 1), generator=g)
    y = x.gather(1, at + 1)[:, 0]
    x.scatter_(1, at, _RECALL_CLASSES)  # the marker
    noise = torch.rand(n, generator=g) < _RECALL_NOISE
    return _cut(x, torch.where(noise, torch.randint(_RECALL_CLASSES, (n,), generator=g), y))


def _markov(_: str) -> Data:
    g = torch.Generator().manual_seed(2)
    n = _N_TRAIN + _N_VALID
    follows = torch.randperm(_MARKOV_TOKENS, generator=g)
    tokens = [torch.randint(_MARKOV_TOKENS, (n,), generator=g) for _ in range(2)]
    for _step in range(_MARKOV_LENGTH - 1):
        noise = torch.rand(n, generator=g) < _MARKOV_NOISE
        tokens.append(torch.where(noise, torch.randint(_MARKOV_TOKENS, (n,), generator=g), follows[tokens[-2]]))
    text = torch.stack(tokens, 1)
    return _cut(text[:, :_MARKOV_LENGTH], text[:, 2:])  # the net predicts from the second position on: the first has no past


def _topics(_: str) -> Data:
    g = torch.Generator().manual_seed(3)
    n = _N_TRAIN + _N_VALID
    owner = torch.randint(_TOPICS, (_WORDS,), generator=g)
    y = torch.randint(_TOPICS, (n,), generator=g)
    return _cut(torch.multinomial(words_of_topics(owner)[y], _WORDS_A_TEXT, replacement=True, generator=g), y)


def words_of_topics(owner: Tensor) -> Tensor:
    """Probability of each word in a text of each topic, ``[topics, words]``, given the topic ``owner`` of each word."""
    common = 1 / torch.arange(1, _WORDS + 1, dtype=torch.float64)
    topical = torch.stack([torch.where(owner == t, common, 0.0) for t in range(_TOPICS)])
    return (1 - _TOPICAL) * common / common.sum() + _TOPICAL * topical / topical.sum(1, keepdim=True)


RECALL = Task(
    name="recall",
    load=_recall,
    nets={cell: partial(Recurrent, _RECALL_CLASSES + 1, _RECALL_CLASSES, cell=cell) for cell in ("lstm", "gru")},
    steps=200,
    batch=64,
    best=1 - _RECALL_NOISE + _RECALL_NOISE / _RECALL_CLASSES,
)
MARKOV = Task(
    name="markov",
    load=_markov,
    nets={"transformer": partial(CausalTransformer, _MARKOV_TOKENS, _MARKOV_LENGTH)},
    steps=200,
    batch=64,
    best=1 - _MARKOV_NOISE + _MARKOV_NOISE / _MARKOV_TOKENS,
)
TOPICS = Task(name="topics", load=_topics, nets={"bag": partial(Bag, _WORDS, _TOPICS)}, steps=200, batch=64, best=0.9676)
