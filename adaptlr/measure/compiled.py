"""Counting within a compiled graph: an operator that the compiler takes as it is, so that it need not break the graph at a hook."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from adaptlr.measure.stats import COUNTERS, ActivationSample, count


@functools.cache
def define() -> None:
    """Make the operator ``torch.ops.adaptlr.count(x, size, per_unit, seed, hist_bins, hist_max)``: what eager code counts, of a
    detached tensor. Done when a probe is first put on a model, since it is in torch's registry of operators from then on.
    """
    library = torch.library.Library("adaptlr", "DEF")
    # Its result is kept past the next pass, which a CUDA graph of the compiler's would write into: it stays out of such graphs.
    tags = [tag for tag in (getattr(torch.Tag, "cudagraph_unsafe", None),) if tag is not None]
    library.define("count(Tensor x, int size, int per_unit, int seed, int hist_bins, float hist_max) -> Tensor", tags=tags)
    library.impl("count", _count, "CompositeExplicitAutograd")
    torch.library.register_fake("adaptlr::count", _shape, lib=library)
    _KEPT.append(library)


_KEPT: list[torch.library.Library] = []  # an operator is gone with its library


def _count(x: Tensor, size: int, per_unit: int, seed: int, hist_bins: int, hist_max: float) -> Tensor:
    sample = ActivationSample(size=size, per_unit=per_unit, seed=seed)
    return count(sample.take(x), hist_bins=hist_bins, hist_max=hist_max)


def _shape(x: Tensor, size: int, per_unit: int, seed: int, hist_bins: int, hist_max: float) -> Tensor:
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    return x.new_empty(len(COUNTERS) + hist_bins, dtype=wide)
