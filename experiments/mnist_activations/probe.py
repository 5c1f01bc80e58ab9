"""The seed's probes: raw outputs of ``conv1`` and of each layer's first convolution, before BatchNorm and ReLU.

Counted as it counted them, ``histc(40, 0, 10)``, and beside it what that leaves out: negatives, values over 10, not-a-numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from torch import Tensor, nn

BINS, TOP = 40, 10.0
LABELS = ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")
COLUMNS = ("mean", "std", "negative_frac", "over_frac", "nonfinite_frac")


def probed(body: nn.Sequential) -> list[nn.Module]:
    """The five convolutions of a fastai ResNet-18 body: ``body[0]`` and the first one of each of ``body[4]`` to ``body[7]``."""
    return [body[0], *(layer[0].conv1 for layer in (body[4], body[5], body[6], body[7]))]  # type: ignore[index,union-attr]


def counted(out: Tensor) -> tuple[Tensor, Tensor]:
    """``histc`` of a convolution's output, ``[40]``, and the columns that it does not show, ``[5]``."""
    a = out.detach().float().flatten()
    finite = torch.isfinite(a)
    kept = a[finite]
    a_finite = kept if len(kept) else a.new_full((1,), -1.0)  # in no bin
    rest = torch.stack(
        [
            a_finite.mean(),
            a_finite.std(correction=0),
            (kept < 0).sum() / len(a),
            (kept > TOP).sum() / len(a),
            (~finite).sum() / len(a),
        ]
    )
    return torch.histc(a_finite, BINS, 0.0, TOP), rest


class SeedProbe(Callback):
    """Counts every training batch while it is :meth:`hooked`; :meth:`save` writes what it has counted."""

    learn: Any  # fastai sets it while it fits
    order = -5

    def __init__(self) -> None:
        self.counts: list[Tensor] = []
        self.rest: list[Tensor] = []
        self._now: dict[int, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def hooked(self, body: nn.Sequential) -> Iterator[None]:
        """The hooks are on ``body`` for the length of a ``with`` block: fastai tells no callback of a fit that ends in Ctrl-C."""
        with ExitStack() as stack:
            for i, module in enumerate(probed(body)):
                stack.callback(module.register_forward_hook(partial(self._keep, i)).remove)
            yield

    def _keep(self, i: int, _: nn.Module, __: object, out: Tensor) -> None:
        if self.learn.training:
            self._now[i] = counted(out)

    def after_batch(self) -> None:
        if self.learn.training and len(self._now) == len(LABELS):
            self.counts.append(torch.stack([self._now[i][0] for i in range(len(LABELS))]))
            self.rest.append(torch.stack([self._now[i][1] for i in range(len(LABELS))]))
        self._now = {}

    def save(self, path: Path) -> None:
        """Arrays ``counts [steps, 5, 40]`` and ``rest [steps, 5, 5]`` as a compressed npz file."""
        counts = torch.stack(self.counts).cpu().numpy().astype(np.float32)
        np.savez_compressed(path, counts=counts, rest=torch.stack(self.rest).cpu().numpy().astype(np.float32))
