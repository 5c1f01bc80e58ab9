"""Ways in which people train, none of them a fault: sizes of batches, schedules, losses, and data that change on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CLASSES_AT_FIRST = 4


def _sixty_four(_step: int) -> int:
    return 64


def _mean(net: nn.Module, x: Tensor, y: Tensor, _order: torch.Generator, _at: float) -> Tensor:
    return F.cross_entropy(net(x), y)


@dataclass(frozen=True, kw_only=True)
class Way:
    """What is other than usual.

    Args:
        size: examples in the batch of a step.
        multiplier: of the learning rate, at a share of the run; None is what the run's schedule says.
        loss: (net, images, labels, generator, share of the run) -> the loss of a batch.
        sgd_lr_frac: share of the usual learning rate that SGD takes: a loss that is larger has larger gradients.
        noise_frac: share of the labels that are random.
        clip: norm that gradients are clipped to; 0: they are not.
        decay: weight decay of AdamW, and twenty times that of SGD.
        frozen_frac: share of the run in which the first half of the weights is frozen.
        few_frac: share of the run, at its start, in which there are four classes only.
        blurred_frac: likewise, in which images are blurred.
        had_steps: steps that were made before, unseen: the run is a second fit, on the same optimizer.
        examples: so many of the images are trained with; 0: all.
    """

    size: Callable[[int], int] = _sixty_four
    multiplier: Callable[[float], float] | None = None
    loss: Callable[[nn.Module, Tensor, Tensor, torch.Generator, float], Tensor] = _mean
    sgd_lr_frac: float = 1.0
    noise_frac: float = 0.0
    clip: float = 0.0
    decay: float = 0.0
    frozen_frac: float = 0.0
    few_frac: float = 0.0
    blurred_frac: float = 0.0
    had_steps: int = 0
    examples: int = 0

    def labels(self, y: Tensor) -> Tensor:
        """Labels [n] to train with; which are random is the same in every run."""
        order = torch.Generator().manual_seed(0)
        other = torch.rand(len(y), generator=order) < self.noise_frac
        return torch.where(other, torch.randint(10, (len(y),), generator=order), y)

    def batch(self, x: Tensor, y: Tensor, step: int, steps: int, order: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [b, 1, 28, 28] and labels [b] of a step of so many, drawn with ``order``."""
        index = torch.randint(self.examples or len(x), (self.size(step),), generator=order)
        if step < self.few_frac * steps:
            few = torch.nonzero(y < _CLASSES_AT_FIRST).squeeze(1)
            index = few[index % len(few)]
        images = x[index]
        if step < self.blurred_frac * steps:
            images = F.interpolate(F.avg_pool2d(images, 4), size=28)
        return images, y[index]

    def freeze(self, net: nn.Module, step: int, steps: int) -> None:
        """Before a step: the first half of the weights is frozen, or no longer."""
        if self.frozen_frac and step in (0, round(self.frozen_frac * steps)):
            params = list(net.parameters())
            for p in params[: len(params) // 2]:
                p.requires_grad_(step > 0)


def _two(_step: int) -> int:
    return 2


def _ragged(step: int, least: int = 2) -> int:
    """Every twentieth batch is what is left of the data."""
    return least if step % 20 == 19 else 64


def _restarts(at: float) -> float:
    """Four cosines, one after the other (SGDR, Loshchilov & Hutter 2017)."""
    return (1 + math.cos(math.pi * (4 * at % 1))) / 2


def _triangles(at: float) -> float:
    """Up from a tenth and down again, three times (cyclical learning rates, Smith 2017)."""
    return 0.1 + 0.9 * (1 - abs(2 * (3 * at % 1) - 1))


def _steps_down(at: float) -> float:
    return 1.0 if at < 0.5 else 0.1 if at < 0.75 else 0.01


def _warm_up(at: float) -> float:
    return min(1.0, 0.005 + 2 * at)


def _summed(net: nn.Module, x: Tensor, y: Tensor, _order: torch.Generator, _at: float) -> Tensor:
    return F.cross_entropy(net(x), y, reduction="sum")


def _weighted(net: nn.Module, x: Tensor, y: Tensor, order: torch.Generator, _at: float) -> Tensor:
    """One batch in ten counts ten times."""
    return F.cross_entropy(net(x), y) * (10 if float(torch.rand((), generator=order)) < 0.1 else 1)


def _mixed_up(net: nn.Module, x: Tensor, y: Tensor, order: torch.Generator, _at: float) -> Tensor:
    """Images and losses are mixed in pairs (mixup, Zhang et al. 2018), in shares that are equally likely."""
    share, other = float(torch.rand((), generator=order)), torch.randperm(len(x), generator=order)
    out = net(share * x + (1 - share) * x[other])
    return share * F.cross_entropy(out, y) + (1 - share) * F.cross_entropy(out, y[other])


def _smoothed(net: nn.Module, x: Tensor, y: Tensor, _order: torch.Generator, _at: float) -> Tensor:
    return F.cross_entropy(net(x), y, label_smoothing=0.1)


def _in_bfloat16(net: nn.Module, x: Tensor, y: Tensor, _order: torch.Generator, _at: float) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    return F.cross_entropy(out.float(), y)


def _penalised(net: nn.Module, x: Tensor, y: Tensor, _order: torch.Generator, at: float) -> Tensor:
    """A second term that counts the more the longer the run is, up to its half, as a VAE's or a teacher's does: the loss rises."""
    out = net(x)
    return F.cross_entropy(out, y) + min(1.0, 2 * at) * 0.1 * out.square().mean()


USUAL = "batches of 64"
#: The first two at every learning rate that people start from, the others at one of Adam's and one of SGD's for each net.
WAYS: dict[str, Way] = {
    USUAL: Way(),
    "batches of 2": Way(size=_two),
    "warm restarts": Way(multiplier=_restarts),
    "triangular cycles": Way(multiplier=_triangles),
    "steps down": Way(multiplier=_steps_down),
    "long warm-up": Way(multiplier=_warm_up),
    "ragged batches": Way(size=_ragged),
    "summed loss": Way(size=lambda step: _ragged(step, 16), loss=_summed, sgd_lr_frac=1 / 64),
    "weighted batches": Way(loss=_weighted),
    "mixup": Way(loss=_mixed_up),
    "label smoothing": Way(loss=_smoothed),
    "autocast to bfloat16": Way(loss=_in_bfloat16),
    "a growing penalty": Way(loss=_penalised),
    "half the labels random": Way(noise_frac=0.5),
    "clipped gradients": Way(clip=1.0),
    "more weight decay": Way(decay=0.1),
    "late unfreezing": Way(frozen_frac=0.4),
    "new classes": Way(few_frac=0.4),
    "sharper images": Way(blurred_frac=0.4),
    "a second fit": Way(had_steps=300),
    "a second fit of few images": Way(had_steps=300, examples=256),
}
EVERY_START = (USUAL, "batches of 2")
