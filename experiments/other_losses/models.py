"""Models that are simple: linear ones, small ones, a single tensor, prompts for a net that is frozen. Their weights say little."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional

from experiments.other_losses.task import N_DIGITS, Task, classify, digits, mlp, trained

# ---------------------------------------------------------------------- softmax regression, and a probe, both from zeros


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _pixels() -> tuple[Tensor, ...]:
    x, y = digits()
    return (x - x.mean()) / x.std(), y


@lru_cache
def _features() -> tuple[Tensor, ...]:
    """What 256 random units with ReLUs make of the digits, and labels."""
    x, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = torch.relu(nn.Linear(64, 256)(x.flatten(1))).detach()
    return (made - made.mean(0)) / (made.std(0) + 1e-3), y


# ---------------------------------------------------------------------- a single tensor


_SIDE = 32


@lru_cache
def _blurred() -> tuple[Tensor, ...]:
    """An image as it came through a lens [1, 1, side, side], twice: to be fitted, and to be validated by."""
    x, _ = digits()
    with torch.no_grad():
        seen = _lens()(functional.interpolate(x[:1, None], size=_SIDE, mode="bilinear"))
    return torch.cat([seen, seen]), torch.arange(2)


def _lens() -> nn.Conv2d:
    ramp = torch.arange(-3.0, 4.0)
    spread = torch.exp(-(ramp[:, None] ** 2 + ramp**2) / 4.5)
    lens = nn.Conv2d(1, 1, 7, padding=3, bias=False).requires_grad_(False)
    lens.weight.copy_((spread / spread.sum())[None, None])
    return lens


class Sharp(nn.Module):
    """The image that was there, as far as is known by now."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 1, _SIDE, _SIDE))
        self.lens = _lens()

    def forward(self) -> Tensor:
        return self.lens(self.image)


def _residual(net: Sharp, batch: tuple[Tensor, ...]) -> Tensor:
    return (net() - batch[0]).square().mean()


# ---------------------------------------------------------------------- prompts


_VOCABULARY, _LENGTH = 12, 16


def _sequences(step: int, seed: int) -> tuple[Tensor, ...]:
    """Each token follows from the last by one of two steps, as chance has it [n, length]."""
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(_VOCABULARY, (1200, 1), generator=g)
    steps = torch.where(torch.rand(1200, _LENGTH, generator=g) < 0.8, step, 1)
    return ((start + steps.cumsum(1)) % _VOCABULARY,)


class Reader(nn.Module):
    """A small causal transformer, which may have vectors put before what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(_VOCABULARY, 48), nn.Embedding(_LENGTH + 8, 48)
        layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, _VOCABULARY)
        self.prompt: nn.Parameter | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x)
        if self.prompt is not None:
            h = torch.cat([self.prompt.expand(len(x), -1, -1), h], 1)
        n = h.shape[1]
        h = h + self.places(torch.arange(n))
        mask = nn.Transformer.generate_square_subsequent_mask(n)
        return self.head(self.blocks(h, mask=mask, is_causal=True))[:, -x.shape[1] :]


def _next_token(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    return functional.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


@lru_cache
def _well_read() -> Reader:
    """Trained on two kinds of sequences."""
    (one,), (other,) = _sequences(3, 1), _sequences(5, 2)
    return trained(Reader, (torch.cat([one, other]),), _next_token, lr=2e-3)


def _prompted() -> nn.Module:
    """The reader, frozen; eight vectors before what it reads, to have it expect one of the two kinds."""
    net = copy.deepcopy(_well_read()).requires_grad_(False)
    net.prompt = nn.Parameter(0.02 * torch.randn(1, 8, 48))
    return net


# ---------------------------------------------------------------------- small nets


def _small() -> nn.Module:
    layers = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    return nn.Sequential(nn.Unflatten(1, (1, 8)), *layers)


def _moons() -> tuple[Tensor, ...]:
    x, y = make_moons(600, noise=0.15, random_state=0)
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()[:, None]


def _yes_or_no(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.binary_cross_entropy_with_logits(net(x), y)


MODELS = (
    Task(
        name="softmax",
        what="cross entropy; softmax regression from zeros",
        data=_pixels,
        n_train=N_DIGITS,
        net=lambda: nn.Sequential(nn.Flatten(), _zero(nn.Linear(64, 10))),
        loss=classify,
        steps=200,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="probe",
        what="cross entropy; a linear probe of features, from zeros",
        data=_features,
        n_train=N_DIGITS,
        net=lambda: nn.Sequential(_zero(nn.Linear(256, 10))),
        loss=classify,
        steps=200,
        loops=(("adamw", "cosine"), ("sgd", "flat")),
    ),
    Task(
        name="deblurring",
        what="squared error; the model is one image, from zeros",
        data=_blurred,
        n_train=1,
        net=Sharp,
        loss=_residual,
        steps=200,
        batch=0,
        loops=(("adam", "flat"), ("sgd", "flat")),
    ),
    Task(
        name="prompts",
        what="cross entropy; eight vectors before what a frozen transformer reads",
        data=lambda: _sequences(3, 3),
        n_train=1000,
        net=_prompted,
        loss=_next_token,
        steps=160,
        loops=(("adam", "flat"), ("adamw", "cosine")),
    ),
    Task(
        name="small",
        what="cross entropy; a convolutional net of 900 weights",
        data=_pixels,
        n_train=N_DIGITS,
        net=_small,
        loss=classify,
        steps=300,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="moons",
        what="cross entropy of yes or no; 2-16-16-1, all data in each step",
        data=_moons,
        n_train=400,
        net=lambda: mlp(2, 16, 16, 1),
        loss=_yes_or_no,
        steps=300,
        batch=0,
        loops=(("adam", "flat"), ("sgd", "flat")),
    ),
)
