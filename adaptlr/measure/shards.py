"""A parameter that several ranks hold a part of (a DTensor of ``fully_shard``), as one rank sees it.

Places are those of the whole, flattened: the ranks together sample what a single process would, each what lies in its own part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adaptlr.measure.picks import scattered


def is_distributed(t: Tensor) -> bool:
    """It is a DTensor. Told by its method, since the class itself takes a second to import."""
    return hasattr(t, "to_local")


def local(t: Tensor) -> Tensor:
    """What this process holds of ``t``, not a copy; all of it where it is no DTensor. Of complex numbers the real parts, which
    stand for the whole. Call it under ``no_grad``."""
    own = t.to_local() if is_distributed(t) else t  # type: ignore[attr-defined]
    return own.real if own.is_complex() else own


def why_unsupported(t: Tensor) -> str | None:
    """What about this DTensor's layout cannot be measured; None if nothing: it is cut along one axis at most, and not padded."""
    names = [type(p).__name__ for p in t.placements]  # type: ignore[attr-defined]
    if names.count("Shard") > 1 or not set(names) <= {"Shard", "Replicate"}:
        return f"is laid out as {tuple(t.placements)} over a mesh of shape {tuple(t.device_mesh.shape)}"  # type: ignore[attr-defined]
    return None


def cut(t: Tensor) -> tuple[int, int] | None:
    """The mesh axis over which ``t`` is cut, and the dimension of ``t``; None where each rank holds all of it."""
    if not is_distributed(t):
        return None
    return next(((axis, p.dim % t.ndim) for axis, p in enumerate(t.placements) if p.is_shard()), None)  # type: ignore[attr-defined]


def own(t: Tensor, index: Tensor, *, first_rank: bool = True) -> Tensor:
    """Of these places in the flattened whole, those that this rank answers for, as places in its own part. Each has one such rank.

    Args:
        t: the parameter.
        index: places in ``t`` flattened.
        first_rank: this rank answers for the parameters that are no DTensors.
    """
    if not is_distributed(t):
        return index if first_rank else index[:0]
    coordinate = t.device_mesh.get_coordinate()  # type: ignore[attr-defined]
    if any(at and not p.is_shard() for at, p in zip(coordinate, t.placements, strict=True)):  # type: ignore[attr-defined]
        return index[:0]  # the first replica answers
    return _in_part(t, index)[1]


@torch.no_grad()
def entries(t: Tensor, index: Tensor) -> Tensor:
    """The entries of the flattened whole at ``index`` as float32, the same on every rank; a sum over the ranks if it is cut."""
    mask, places = _in_part(t, index)
    out = torch.zeros(len(index), dtype=torch.float32, device=index.device)
    out[mask] = torch.take(local(t), places).float()
    return total(out, t)


def sample(t: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """At most ``n`` entries from all over the flattened whole, float32 on the host, the same on every rank."""
    index = scattered(t.numel(), min(t.numel(), n), seed)
    return entries(t.detach(), index.to(t.device)).cpu()


def total(part: Tensor, t: Tensor) -> Tensor:
    """The sum of ``part`` over the ranks that ``t`` is cut over."""
    found = cut(t)
    if found is not None:
        torch.distributed.all_reduce(part, group=t.device_mesh.get_group(found[0]))  # type: ignore[attr-defined]
    return part


def _in_part(t: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Which places of the whole lie in this rank's part [as a mask], and where in it those are."""
    found = cut(t)
    if found is None:
        return torch.ones_like(index, dtype=torch.bool), index
    axis, dim = found
    size, inner = t.shape[dim], math.prod(t.shape[dim + 1 :])
    each = math.ceil(size / t.device_mesh.size(axis))  # type: ignore[attr-defined]  # as torch.chunk cuts: the last may be short, or empty
    start = min(t.device_mesh.get_local_rank(axis) * each, size)  # type: ignore[attr-defined]
    length = min(each, size - start)
    at = index // inner % size
    mask = (at >= start) & (at < start + length)
    here = index[mask]
    return mask, here // (inner * size) * (inner * length) + here % (inner * size) - start * inner
