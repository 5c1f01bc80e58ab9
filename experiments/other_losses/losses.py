"""Small tasks whose losses are unlike a cross entropy over classes: below zero, summed, contrastive, hinged, mostly noise; and one
whose weights are: few, beside a net that stays as it is.

Data are made, or scikit-learn's 8x8 digits: no download.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.other_losses.task import N_DIGITS, Task, classify, digits, mlp, trained

# ---------------------------------------------------------------------- a density: below zero


def _noisy_function() -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    x = 2 * torch.rand(2600, 6, generator=g) - 1
    spread = 0.02 + 0.05 * x[:, 3].abs()
    return x, torch.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + spread * torch.randn(2600, generator=g)


def _gaussian_nll(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    mean, log_std = net(x).unbind(1)
    log_std = log_std.clamp(-7, 7)
    return (log_std + 0.5 * ((y - mean) / log_std.exp()) ** 2).mean()


# ---------------------------------------------------------------------- a similarity with its sign turned: from 0 to -1


def _directions() -> tuple[Tensor, ...]:
    x, _ = digits()
    turn = torch.randn(64, 32, generator=torch.Generator().manual_seed(2))
    return x.flatten(1), torch.tanh((x.flatten(1) - x.mean()) @ turn)


def _turned_similarity(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return -functional.cosine_similarity(net(x), y, dim=1).mean()


# ---------------------------------------------------------------------- a bound: summed over pixels


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 128, 16), mlp(8, 128, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


def _elbo(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    out, mean, log_var = net(x)
    seen = functional.binary_cross_entropy_with_logits(out, x, reduction="sum") / len(x)
    return seen - 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()


# ---------------------------------------------------------------------- two views of each image find one another


def _view_net() -> nn.Module:
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(512, 32))


def _view(x: Tensor) -> Tensor:
    by = (int(torch.randint(-1, 2, ())), int(torch.randint(-1, 2, ())))
    return torch.roll(x, by, (2, 3)) + 0.2 * torch.randn_like(x)


def _info_nce(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    a, b = (functional.normalize(net(_view(x)), dim=1) for _ in range(2))
    return functional.cross_entropy(a @ b.T / 0.2, torch.arange(len(x)))


# ---------------------------------------------------------------------- words by their neighbours: sparse rows, zeros to begin with

_WORDS, _TOPICS = 1000, 20


def _pairs() -> tuple[Tensor, ...]:
    g, n = torch.Generator().manual_seed(3), 12_000
    ranks = torch.multinomial(1 / (torch.arange(_WORDS // _TOPICS) + 2.0), 2 * n, True, generator=g).view(2, n)
    topic = torch.randint(_TOPICS, (n,), generator=g)
    return ranks[0] * _TOPICS + topic, ranks[1] * _TOPICS + topic


class SkipGram(nn.Module):
    """Begins as word2vec does: the one table in small numbers, the other in zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.context = nn.Embedding(_WORDS, 32), nn.Embedding(_WORDS, 32)
        nn.init.uniform_(self.word.weight, -0.5 / 32, 0.5 / 32)
        nn.init.zeros_(self.context.weight)

    def forward(self, word: Tensor, context: Tensor) -> Tensor:
        return (self.word(word) * self.context(context)).sum(-1)


def _negative_sampling(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    word, context = batch
    others = torch.randint(_WORDS, (len(word), 5))
    return functional.softplus(-net(word, context)).mean() + functional.softplus(net(word[:, None], others)).mean()


# ---------------------------------------------------------------------- many yes or no, most of them no


def _tags() -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(4)
    x, w = torch.randn(4000, 40, generator=g), torch.randn(40, 30, generator=g)
    return x, ((x @ w) / 40**0.5 + 0.3 * torch.randn(4000, 30, generator=g) > 1.6).float()


def _tag_net() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 30))


def _each_tag(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.binary_cross_entropy_with_logits(net(x), y)


# ---------------------------------------------------------------------- a graph, all of it in each step

_NODES, _KINDS = 600, 6


@lru_cache
def _graph() -> tuple[Tensor, Tensor, Tensor]:
    """Adjacency, normalised; features; kinds of nodes."""
    g = torch.Generator().manual_seed(5)
    kind = torch.randint(_KINDS, (_NODES,), generator=g)
    near = torch.where(kind[:, None] == kind, 0.05, 0.005)
    edges = (torch.rand(_NODES, _NODES, generator=g) < near).float()
    edges = ((edges + edges.T) > 0).float() + torch.eye(_NODES)
    degree = edges.sum(1)
    x = torch.randn(_NODES, 64, generator=g) + 0.6 * functional.one_hot(kind, 64)
    return edges / (degree[:, None] * degree).sqrt(), x, kind


class GraphNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, _KINDS)

    def forward(self, nodes: Tensor) -> Tensor:
        edges, x, _ = _graph()
        return (edges @ self.second(torch.relu(edges @ self.first(x))))[nodes]


def _kinds_of_nodes(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (nodes,) = batch
    return functional.cross_entropy(net(nodes), _graph()[2][nodes])


# ---------------------------------------------------------------------- images made sharp: a mean of absolute errors


def _small_and_large() -> tuple[Tensor, ...]:
    x = digits()[0][:, None]
    return functional.avg_pool2d(x, 2), x


def _upscaler() -> nn.Module:
    first = [nn.Conv2d(1, 32, 3, padding=1), nn.PReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.PReLU()]
    return nn.Sequential(*first, nn.Conv2d(32, 4, 3, padding=1), nn.PixelShuffle(2))


def _absolute_error(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    small, large = batch
    return functional.l1_loss(net(small), large)


# ---------------------------------------------------------------------- a language of much noise: the loss stays high

_VOCABULARY, _LENGTH = 300, 32


@lru_cache
def _text() -> tuple[Tensor, ...]:
    """Each word is followed by one of three, or, three times in ten, by any."""
    g, n = torch.Generator().manual_seed(6), 2000 * _LENGTH
    follow = torch.randint(_VOCABULARY, (_VOCABULARY, 3), generator=g).tolist()
    which, any_word = (torch.randint(k, (n,), generator=g).tolist() for k in (3, _VOCABULARY))
    noise = (torch.rand(n, generator=g) < 0.3).tolist()
    words = [0]
    for i in range(1, n):
        words.append(any_word[i] if noise[i] else follow[words[-1]][which[i]])
    return (torch.tensor(words).view(-1, _LENGTH),)


class TiedLanguageModel(nn.Module):
    """The same table puts words in and takes them out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(_VOCABULARY, 64), nn.Parameter(0.02 * torch.randn(_LENGTH, 64))
        nn.init.normal_(self.words.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True, norm_first=True)
        self.body, self.norm = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.LayerNorm(64)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        seen = self.body(self.words(x) + self.places[: x.shape[1]], mask=mask, is_causal=True)
        return self.norm(seen) @ self.words.weight.T


def _next_word(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    return functional.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


# ---------------------------------------------------------------------- a margin: no gradient where it is kept


def _batch_hard(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Triplet loss, Hermans et al. 2017; where all points meet it stands at 1."""
    x, y = batch
    z = net(x)
    apart, same = torch.cdist(z, z), y[:, None] == y
    furthest = torch.where(same, apart, 0.0).amax(1)
    nearest = torch.where(same, torch.inf, apart).amin(1)
    return functional.relu(furthest - nearest + 1).mean()


# ---------------------------------------------------------------------- chances: nine tenths of the loss are nobody's fault


def _clicks() -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(12)
    x = torch.randn(20_000, 20, generator=g)
    chance = torch.sigmoid(0.7 * (x @ torch.randn(20, generator=g)) / 20**0.5 + 0.4 * x[:, 0] * x[:, 1] - 0.3)
    return x, (torch.rand(len(x), generator=g) < chance).float()


def _surprise(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)


# ---------------------------------------------------------------- noise that was added, to be found: the loss soon falls no more

_TIMES = 200


def _time_codes(t: Tensor) -> Tensor:
    """Sines and cosines [n, 32] of time steps."""
    angle = t[:, None] * torch.exp(-9.2 * torch.arange(16) / 16)
    return torch.cat([angle.sin(), angle.cos()], 1)


class Denoiser(nn.Module):
    """Predicts the noise in images [n, 1, 8, 8] at time steps [n] (Ho et al. 2020): one residual block that knows the time."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.stem = nn.Sequential(nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 16)), nn.Conv2d(1, 16, 3, padding=1)
        self.first = nn.Sequential(nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.second = nn.Sequential(nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.out = nn.Sequential(nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.stem(x)
        return self.out(h + self.second(self.first(h) + self.time(_time_codes(t))[:, :, None, None]))


def _noise_found(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.04, _TIMES), 0)
    t, noise = torch.randint(_TIMES, (len(x),)), torch.randn_like(x)
    share = kept[t][:, None, None, None]
    return functional.mse_loss(net(share.sqrt() * x + (1 - share).sqrt() * noise, t), noise)


# ---------------------------------------------------------------------- adapters on a net that is frozen


class Adapter(nn.Module):
    """A frozen linear layer and a product of two thin ones beside it, the second of which begins at zero (LoRA, Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer
        self.down, self.up = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 2 * self.up(self.down(x))


class RowReader(nn.Module):
    """A small transformer that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.places, self.head = nn.Linear(8, 64), nn.Parameter(torch.zeros(8, 64)), nn.Linear(64, 10)
        self.mix = nn.ModuleList(nn.MultiheadAttention(64, 4, batch_first=True) for _ in range(2))
        self.think = nn.ModuleList(mlp(64, 128, 64, act=nn.GELU) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.rows(x) + self.places
        for i, (mix, think) in enumerate(zip(self.mix, self.think, strict=True)):
            y = self.norms[2 * i](h)
            h = h + mix(y, y, y, need_weights=False)[0]
            h = h + think(self.norms[2 * i + 1](h))
        return self.head(h.mean(1))


def _digits_from(first: int, last: int) -> tuple[Tensor, ...]:
    x, y = digits()
    these = (first <= y) & (y <= last)
    return x[these] - 0.3, y[these]


@lru_cache
def _reader_of_five() -> RowReader:
    """Trained on the digits 0 to 4."""
    return trained(RowReader, _digits_from(0, 4), classify, lr=1e-3)


def _adapted_reader() -> nn.Module:
    """The reader of five digits, frozen; adapters, and a head for the other five."""
    net = copy.deepcopy(_reader_of_five()).requires_grad_(False)
    for think in net.think:
        assert isinstance(think, nn.Sequential)
        for i in (0, 2):
            layer = think[i]
            assert isinstance(layer, nn.Linear)
            think[i] = Adapter(layer)
    net.head = nn.Linear(64, 10)
    return net


LOSSES = (
    Task(
        name="density",
        what="Gaussian log-likelihood, sign turned",
        data=_noisy_function,
        n_train=2000,
        net=lambda: mlp(6, 128, 128, 2, act=nn.SiLU),
        loss=_gaussian_nll,
        steps=300,
        loops=(("adam", "cosine"), ("sgd", "flat")),
    ),
    Task(
        name="directions",
        what="cosine similarity, sign turned",
        data=_directions,
        n_train=N_DIGITS,
        net=lambda: mlp(64, 128, 128, 32),
        loss=_turned_similarity,
        steps=240,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="images",
        what="evidence bound of a VAE, summed over pixels",
        data=lambda: (digits()[0].flatten(1),),
        n_train=N_DIGITS,
        net=Vae,
        loss=_elbo,
        steps=280,
        loops=(("adam", "flat"), ("sgd", "one-cycle")),
    ),
    Task(
        name="views",
        what="contrastive (InfoNCE)",
        data=lambda: (digits()[0][:, None],),
        n_train=N_DIGITS,
        net=_view_net,
        loss=_info_nce,
        steps=240,
        loops=(("sgd", "cosine"), ("adamw", "one-cycle")),
    ),
    Task(
        name="words",
        what="skip-gram with negative samples",
        data=_pairs,
        n_train=10_000,
        net=SkipGram,
        loss=_negative_sampling,
        steps=400,
        batch=128,
        loops=(("adam", "flat"), ("adagrad", "cosine")),
    ),
    Task(
        name="tags",
        what="thirty rare labels at once",
        data=_tags,
        n_train=3200,
        net=_tag_net,
        loss=_each_tag,
        steps=300,
        loops=(("adamw", "one-cycle"), ("sgd", "flat")),
    ),
    Task(
        name="graph",
        what="cross entropy over a whole graph",
        data=lambda: (torch.arange(_NODES),),
        n_train=_NODES // 4,
        net=GraphNet,
        loss=_kinds_of_nodes,
        steps=200,
        batch=0,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="upscaling",
        what="mean absolute error",
        data=_small_and_large,
        n_train=N_DIGITS,
        net=_upscaler,
        loss=_absolute_error,
        steps=200,
        batch=32,
        loops=(("adam", "cosine"), ("sgd", "one-cycle")),
    ),
    Task(
        name="language",
        what="cross entropy that stays high, tied weights",
        data=_text,
        n_train=1600,
        net=TiedLanguageModel,
        loss=_next_word,
        steps=400,
        batch=16,
        loops=(("adamw", "one-cycle"), ("rmsprop", "flat")),
    ),
    Task(
        name="margins",
        what="triplets with a margin",
        data=lambda: (digits()[0].flatten(1), digits()[1]),
        n_train=N_DIGITS,
        net=lambda: mlp(64, 128, 32),
        loss=_batch_hard,
        steps=240,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="clicks",
        what="cross entropy of chances, nine tenths of it noise",
        data=_clicks,
        n_train=12_000,
        net=lambda: mlp(20, 64, 64, 1),
        loss=_surprise,
        steps=400,
        loops=(("adam", "one-cycle"), ("sgd", "flat")),
    ),
    Task(
        name="denoising",
        what="noise predicted, as in diffusion",
        data=lambda: (2 * digits()[0][:, None] - 1,),
        n_train=N_DIGITS,
        net=Denoiser,
        loss=_noise_found,
        steps=300,
        loops=(("adamw", "flat"), ("sgd", "one-cycle")),
    ),
    Task(
        name="adapters",
        what="cross entropy; adapters on a frozen transformer",
        data=lambda: _digits_from(5, 9),
        n_train=700,
        net=_adapted_reader,
        loss=classify,
        steps=240,
        loops=(("adamw", "one-cycle"), ("sgd", "flat")),
    ),
)
