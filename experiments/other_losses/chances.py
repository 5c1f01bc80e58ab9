"""Chances: of points, of counts, of lifetimes, of what an action brings."""

from __future__ import annotations

import copy
import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.other_losses.task import Task, mlp

# ---------------------------------------------------------------------- points in a plane: their density, and its slope


def _moons() -> tuple[Tensor, ...]:
    g, n = torch.Generator().manual_seed(10), 3000
    t, which = math.pi * torch.rand(n, generator=g), torch.randint(2, (n,), generator=g).float()
    x = torch.stack([torch.cos(t) * (1 - 2 * which) + which, torch.sin(t) * (1 - 2 * which) + 0.5 * which], 1)
    return (x + 0.05 * torch.randn(n, 2, generator=g),)


class Flow(nn.Module):
    """Six couplings of the two coordinates (Dinh et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(mlp(1, 48, 48, 2, act=nn.Tanh) for _ in range(6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points in the plain space, and by what log volume they have grown."""
        kept, moved = x.split(1, 1)
        grown = torch.zeros(len(x))
        for net in self.nets:
            stretch, shift = net(kept).split(1, 1)
            stretch = 2 * torch.tanh(stretch)
            moved, kept = kept, moved * stretch.exp() + shift
            grown = grown + stretch[:, 0]
        return torch.cat([kept, moved], 1), grown


def _surprise(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    z, grown = net(batch[0])
    return (0.5 * (z**2).sum(1) + math.log(2 * math.pi) - grown).mean()


def _slope(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Denoising score matching at many sizes of noise (Vincent 2011; Song & Ermon 2019). Most of it cannot be learned away."""
    (x,) = batch
    size, noise = torch.empty(len(x), 1).uniform_(-3, 0).exp(), torch.randn_like(x)
    return ((net(torch.cat([x + size * noise, size.log()], 1)) + noise) ** 2).sum(1).mean()


# ---------------------------------------------------------------------- quantiles, counts, lifetimes


def _skewed() -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(13)
    x = torch.randn(2600, 8, generator=g)
    return x, x[:, :1] * x[:, 1:2] + torch.relu(x[:, 2:3]) + 0.5 * torch.randn(2600, 1, generator=g).exp()


def _pinball(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    q, above = torch.tensor([0.1, 0.5, 0.9]), y - net(x)
    return torch.maximum(q * above, (q - 1) * above).mean()


def _counts() -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(14)
    x = torch.randn(3000, 10, generator=g)
    log_rate = 1 + 0.8 * (x @ torch.randn(10, 1, generator=g)) / 10**0.5 + 0.5 * torch.sin(2 * x[:, :1])
    return x, torch.poisson(log_rate.exp(), generator=g)


def _poisson(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    return functional.poisson_nll_loss(net(x), y)


def _lives() -> tuple[Tensor, ...]:
    """Features, times, and whether they ended then or were only no longer watched."""
    g, n = torch.Generator().manual_seed(15), 2400
    x = torch.randn(n, 10, generator=g)
    risk = x[:, 0] * x[:, 1] + (x @ torch.randn(10, generator=g)) / 10**0.5
    end, watched = -torch.rand(n, generator=g).log() / risk.exp(), -2 * torch.rand(n, generator=g).log()
    return x, torch.minimum(end, watched), (end < watched).float()


def _who_is_first(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Cox's partial likelihood, among the examples of a batch."""
    x, time, ended = batch
    order = time.argsort(descending=True)
    risk = net(x)[order, 0]
    return -((risk - risk.logcumsumexp(0)) * ended[order]).sum() / ended.sum().clamp(min=1)


# ---------------------------------------------------------------------- what an action brings


def _choices() -> tuple[Tensor, ...]:
    """Situations, and what each of six actions brings there."""
    g = torch.Generator().manual_seed(8)
    x = torch.randn(3000, 12, generator=g)
    return x, torch.tanh(x @ torch.randn(12, 6, generator=g)) + 0.5 * torch.cos(x @ torch.randn(12, 6, generator=g))


def _policy_gradient(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """REINFORCE with a baseline (Williams 1992), a loss that does not fall as the policy learns. What it brings validates it."""
    x, brings = batch
    logits = net(x)
    if not net.training:
        return -(logits.softmax(1) * brings).sum(1).mean()
    policy = torch.distributions.Categorical(logits=logits)
    action = policy.sample()
    got = brings.gather(1, action[:, None])[:, 0] + 0.3 * torch.randn(len(x))
    return -((got - got.mean()) * policy.log_prob(action)).mean() - 0.01 * policy.entropy().mean()


_STATES, _ACTIONS = 200, 4


@lru_cache
def _world() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of states, where each action leads, what it brings at once, and in the long run."""
    g = torch.Generator().manual_seed(9)
    x, leads = torch.randn(_STATES, 16, generator=g), torch.randint(_STATES, (_STATES, _ACTIONS), generator=g)
    brings = torch.tanh(x @ torch.randn(16, _ACTIONS, generator=g))
    worth = torch.zeros(_STATES, _ACTIONS)
    for _ in range(400):
        worth = brings + 0.9 * worth.amax(1)[leads]
    return x, leads, brings, worth


class Values(nn.Module):
    """With an older copy of itself, from which it learns (Mnih et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(16, 128, 128, _ACTIONS)
        self.older = copy.deepcopy(self.net).requires_grad_(False)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def step(self) -> None:
        self.steps += 1
        if self.steps % 20 == 0:
            self.older.load_state_dict(self.net.state_dict())


def _surprised(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """By what comes next: a loss that rises as values grow. What validates is how far they are from the true ones."""
    assert isinstance(net, Values)
    x, leads, brings, worth = _world()
    state = batch[0] % _STATES
    if not net.training:
        return functional.mse_loss(net(x[state]), worth[state])
    net.step()
    action = torch.randint(_ACTIONS, (len(state),))
    with torch.no_grad():
        then = brings[state, action] + 0.9 * net.older(x[leads[state, action]]).amax(1)
    return functional.smooth_l1_loss(net(x[state]).gather(1, action[:, None])[:, 0], then)


CHANCES = (
    Task(
        name="flow",
        what="likelihood of a normalising flow, sign turned",
        data=_moons,
        n_train=2400,
        net=Flow,
        loss=_surprise,
        steps=300,
        batch=128,
        loops=(("adam", "flat"), ("adam", "one-cycle")),
    ),
    Task(
        name="score",
        what="score matching, two thirds of it noise",
        data=_moons,
        n_train=2400,
        net=lambda: mlp(3, 96, 96, 2, act=nn.SiLU),
        loss=_slope,
        steps=300,
        batch=128,
        loops=(("adam", "flat"), ("sgd", "cosine")),
    ),
    Task(
        name="quantiles",
        what="pinball loss",
        data=_skewed,
        n_train=2000,
        net=lambda: mlp(8, 64, 64, 3),
        loss=_pinball,
        steps=300,
        loops=(("adam", "cosine"), ("sgd", "flat")),
    ),
    Task(
        name="counts",
        what="Poisson likelihood, sign turned",
        data=_counts,
        n_train=2400,
        net=lambda: mlp(10, 64, 64, 1),
        loss=_poisson,
        steps=300,
        loops=(("adam", "flat"), ("rmsprop", "cosine")),
    ),
    Task(
        name="lives",
        what="Cox's partial likelihood, sign turned",
        data=_lives,
        n_train=1900,
        net=lambda: mlp(10, 64, 64, 1),
        loss=_who_is_first,
        steps=240,
        batch=128,
        loops=(("adam", "flat"), ("sgd", "one-cycle")),
    ),
    Task(
        name="choices",
        what="policy gradient; a loss that says nothing",
        data=_choices,
        n_train=2400,
        net=lambda: mlp(12, 64, 64, 6, act=nn.Tanh),
        loss=_policy_gradient,
        steps=400,
        batch=128,
        loops=(("adam", "flat"), ("rmsprop", "cosine")),
    ),
    Task(
        name="values",
        what="temporal differences; a loss that rises",
        data=lambda: (torch.arange(6 * _STATES),),
        n_train=5 * _STATES,
        net=Values,
        loss=_surprised,
        steps=500,
        loops=(("adam", "flat"), ("sgd", "flat")),
    ),
)
