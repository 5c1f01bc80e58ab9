"""The games, and one run of one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from adaptlr import Controller
from experiments.other_losses.task import N_DIGITS, digits, mlp
from experiments.recovery import Run, keep

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Game:
    """A generator and a discriminator of some data.

    Args:
        real: a batch of so many examples [n, d], drawn with a generator.
        nets: makes the two.
        noise: inputs of the generator.
        critic_loss: of the discriminator, true and made examples, and what draws at random.
        loss: of the discriminator's answers to made ones, for the generator.
        critic_steps: of the discriminator, to one of the generator.
    """

    real: Callable[[int, Generator], Tensor]
    nets: Callable[[], tuple[nn.Module, nn.Module]]
    noise: int
    critic_loss: Callable[[Critic, Tensor, Tensor, Generator], Tensor]
    loss: Callable[[Tensor], Tensor]
    optimizer: str = "adam"
    lr: float
    betas: tuple[float, float] = (0.5, 0.999)
    critic_steps: int = 1
    steps: int = 3000  # of the discriminator


def ring(n: int, draw: Generator) -> Tensor:
    """Eight narrow clusters on a circle."""
    angle = torch.randint(0, 8, (n,), generator=draw) * (2 * math.pi / 8)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2, generator=draw)


def images(n: int, draw: Generator) -> Tensor:
    x = digits()[0].flatten(1)[:N_DIGITS] * 2 - 1
    return x[torch.randint(len(x), (n,), generator=draw)]


def small() -> tuple[nn.Module, nn.Module]:
    return mlp(8, 64, 64, 2), mlp(2, 64, 64, 1)


def normalised() -> tuple[nn.Module, nn.Module]:
    hidden = [m for a in (16, 128) for m in (nn.Linear(a, 128), nn.BatchNorm1d(128), nn.ReLU())]
    critic = [m for a in (64, 128) for m in (nn.Linear(a, 128), nn.LeakyReLU(0.2))]
    return nn.Sequential(*hidden, nn.Linear(128, 64), nn.Tanh()), nn.Sequential(*critic, nn.Linear(128, 1))


def logistic(critic: Critic, real: Tensor, made: Tensor, _: Generator) -> Tensor:
    return F.softplus(-critic(real)).mean() + F.softplus(critic(made)).mean()


def squares(critic: Critic, real: Tensor, made: Tensor, _: Generator) -> Tensor:
    return (critic(real) - 1).square().mean() + critic(made).square().mean()


def hinge(critic: Critic, real: Tensor, made: Tensor, _: Generator) -> Tensor:
    return (1 - critic(real)).relu().mean() + (1 + critic(made)).relu().mean()


def penalised(critic: Critic, real: Tensor, made: Tensor, draw: Generator) -> Tensor:
    """Wasserstein, with a penalty on the critic's slope between the two."""
    share = torch.rand(len(real), 1, generator=draw)
    between = (share * real + (1 - share) * made).requires_grad_()
    slope = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
    return critic(made).mean() - critic(real).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()


def rising(answers: Tensor) -> Tensor:
    return F.softplus(-answers).mean()


def highest(answers: Tensor) -> Tensor:
    return -answers.mean()


_ring = partial(Game, real=ring, nets=small, noise=8)
_digits = partial(Game, real=images, nets=normalised, noise=16)
GAMES = {
    "ring": _ring(critic_loss=logistic, loss=rising, lr=1e-3),
    "ring-squares": _ring(critic_loss=squares, loss=lambda z: (z - 1).square().mean(), lr=1e-3),
    "ring-penalty": _ring(critic_loss=penalised, loss=highest, lr=1e-3, betas=(0.0, 0.9), critic_steps=5, steps=6000),
    "ring-rmsprop": _ring(critic_loss=logistic, loss=rising, optimizer="rmsprop", lr=5e-4),
    "digits": _digits(critic_loss=logistic, loss=rising, lr=2e-4),
    "digits-hinge": _digits(critic_loss=hinge, loss=highest, lr=2e-4),
}
_BATCH = 64


def distance(game: Game, generator: nn.Module) -> float:
    """Energy distance of made examples to true ones: 0 if both are distributed alike."""
    draw = Generator().manual_seed(99)
    with torch.no_grad():
        made, real = generator(torch.randn(1000, game.noise, generator=draw)), game.real(1000, draw)
        within = torch.cdist(made, made).mean() + torch.cdist(real, real).mean()
        return (2 * torch.cdist(made, real).mean() - within).item()


def optimizer_of(game: Game, net: nn.Module) -> torch.optim.Optimizer:
    if game.optimizer == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), lr=game.lr)
    return torch.optim.Adam(net.parameters(), lr=game.lr, betas=game.betas)


def train(run: Run, *, out: Path, slot: int = 0) -> None:
    """Play, and write the run's folder: its loss is the generator's :func:`distance`."""
    warnings.simplefilter("ignore")
    game = GAMES[run.task]
    torch.manual_seed(run.seed)
    draw = Generator().manual_seed(run.seed)
    generator, critic = game.nets()
    begin = distance(game, generator)
    sides = {"generator": (generator, optimizer_of(game, generator)), "critic": (critic, optimizer_of(game, critic))}
    steps = {"generator": game.steps // game.critic_steps, "critic": game.steps}
    watches: dict[str, Controller] = {}
    with ExitStack() as stack:
        if run.method != "plain":
            for name, (net, optimizer) in sides.items():
                told = steps[name] if run.method == "adaptlr" else None
                watches[name] = stack.enter_context(Controller(net, optimizer, total_steps=told))

        def step(name: str, loss: Tensor) -> None:
            optimizer = sides[name][1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if name in watches:
                watches[name].step(loss)

        for i in range(game.steps):
            made = generator(torch.randn(_BATCH, game.noise, generator=draw))
            step("critic", game.critic_loss(critic, game.real(_BATCH, draw), made.detach(), draw))
            if (i + 1) % game.critic_steps == 0:
                step("generator", game.loss(critic(made)))
    decisions = [[d.step, str(d.action), f"{name}: {d.message}"] for name, w in watches.items() for d in w.decisions]
    keep(run, out, begin=begin, loss=distance(game, generator), decisions=decisions)
