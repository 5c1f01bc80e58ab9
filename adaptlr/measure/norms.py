"""The scale of what a net is shown, as its first normalisation remembers it.

A batch far out of scale leaves no mark on the loss of a net with BatchNorm, which divides the scale out, and ruins what it does in
evaluation for a hundred steps to come. The normalisations after the first see what that one has normalised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def first_norm(model: nn.Module) -> nn.Module | None:
    """The first module that keeps a running variance, in the order of definition. One of no features, as fastai puts before tables
    without numbers, remembers nothing."""
    return next((m for m in model.modules() if _keeps(m)), None)


def _keeps(module: nn.Module) -> bool:
    kept = getattr(module, "running_var", None)
    return isinstance(kept, Tensor) and kept.numel() > 0


def running_variance(norm: nn.Module | None) -> Tensor | None:
    """The mean over channels of a normalisation's running variance: a scalar on its device; None if it keeps none."""
    kept = norm.running_var if norm is not None else None
    if not isinstance(kept, Tensor):
        return None
    with torch.no_grad():
        return kept.mean()
