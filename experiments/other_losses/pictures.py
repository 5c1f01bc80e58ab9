"""Images that are rebuilt from a few numbers or from a few of their parts, and shapes that are found in them."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.other_losses.task import N_DIGITS, Task, digits

# ---------------------------------------------------------------------- an image from twelve numbers


def _rebuilder() -> nn.Module:
    down = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 12)]
    up = [nn.Linear(12, 128), nn.ReLU(), nn.Unflatten(1, (32, 2, 2)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*down, *up, nn.ConvTranspose2d(16, 1, 4, 2, 1))


def _rebuilt(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    (x,) = batch
    return functional.mse_loss(net(x), x)


# ---------------------------------------------------------------------- an image from two fifths of its parts


class MaskedAutoencoder(nn.Module):
    """Says what the hidden parts of an image [n, 16, 4] are (after He et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = nn.Linear(4, 48), nn.Linear(48, 4)
        self.places, self.hidden = nn.Parameter(0.02 * torch.randn(16, 48)), nn.Parameter(torch.zeros(48))
        layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, hide: Tensor) -> Tensor:
        return self.out(self.body(torch.where(hide[..., None], self.hidden, self.stem(x)) + self.places))


def _hidden_parts(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    parts = batch[0].view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
    hide = torch.rand(len(parts), 16) < 0.6
    return ((net(parts, hide) - parts) ** 2).mean(-1)[hide].mean()


# ---------------------------------------------------------------------- a disc to be found beside a square


@lru_cache
def _shapes() -> tuple[Tensor, ...]:
    """Images [n, 1, 24, 24] of a disc and a square in noise, and the disc."""
    g, n, axis = torch.Generator().manual_seed(12), 900, torch.arange(24.0)
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    place, size = 4 + 16 * torch.rand(n, 2, 2, 1, 1, generator=g), 2 + 3 * torch.rand(n, 1, 1, generator=g)
    disc = ((down - place[:, 0, 0]) ** 2 + (across - place[:, 0, 1]) ** 2).sqrt() < size
    square = (down - place[:, 1, 0]).abs().maximum((across - place[:, 1, 1]).abs()) < size
    image = (disc | square).float() + 0.5 * torch.randn(n, 24, 24, generator=g)
    return image[:, None], disc.float()[:, None]


class SmallUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

        self.fine, self.coarse, self.both, self.out = block(1, 12), block(12, 24), block(36, 12), nn.Conv2d(12, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(functional.max_pool2d(fine, 2))
        return self.out(self.both(torch.cat([fine, functional.interpolate(coarse, scale_factor=2)], 1)))


def _dice(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    x, y = batch
    p = net(x).sigmoid().flatten(1)
    y = y.flatten(1)
    return 1 - ((2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)).mean()


PICTURES = (
    Task(
        name="rebuilding",
        what="squared error of an autoencoder",
        data=lambda: (digits()[0][:, None],),
        n_train=N_DIGITS,
        net=_rebuilder,
        loss=_rebuilt,
        steps=300,
        loops=(("adam", "flat"), ("sgd", "one-cycle")),
    ),
    Task(
        name="hidden parts",
        what="squared error on what is masked",
        data=lambda: (digits()[0],),
        n_train=N_DIGITS,
        net=MaskedAutoencoder,
        loss=_hidden_parts,
        steps=300,
        loops=(("adamw", "one-cycle"), ("adamw", "flat")),
    ),
    Task(
        name="shapes",
        what="Dice loss of a segmentation",
        data=_shapes,
        n_train=700,
        net=SmallUNet,
        loss=_dice,
        steps=160,
        batch=16,
        loops=(("adam", "one-cycle"), ("sgd", "flat")),
    ),
)
