"""Is this group still at its random initialisation? Only the weights tell.

Two signs, and both must agree: the entries follow one of the distributions that initialisers draw from (normal, truncated normal,
uniform), and no singular value stands out of the Marchenko-Pastur bulk. Measured on ResNet-18: Kolmogorov-Smirnov distance times
sqrt(n) is 0.7-1.2 for random layers and 10-60 for ImageNet's; the largest singular value over the edge 0.98-1.01 and 1.36-2.8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from adaptlr.measure import shards
from adaptlr.records import Provenance

KS_RANDOM = 1.95  # sqrt(n) x KS distance: the 0.1% point of Kolmogorov's law
KS_TRAINED = 3.0
EDGE_RANDOM = 1.08  # largest singular value over the Marchenko-Pastur edge; finite matrices fluctuate by 1-3%
EDGE_TRAINED = 1.15
MIN_WEIGHTS = 512  # fewer entries tell nothing
FEW_WEIGHTS = 64  # entries of a head beside weights that are trained, which are enough to say that nothing speaks against a new one
_TENSORS = 4  # of a group, the largest: enough to tell, and cheap
_ENTRIES = 4096


def ks_distance(entries: np.ndarray) -> float:
    """sqrt(n) times the smallest Kolmogorov-Smirnov distance of ``entries`` (1-D) from the initialisers' families.

    Each family is fitted first: normal by mean and standard deviation, the normal truncated at two of its standard deviations
    likewise, uniform by the second moment. Returns inf if the entries are constant, or not all finite.
    """
    if not np.isfinite(entries).all():
        return math.inf
    entries = entries.astype(np.float64)  # whose squares have room
    n, mean, std = len(entries), float(entries.mean()), float(entries.std())
    if std == 0:
        return math.inf
    x = np.sort((entries - mean) / std)
    cut = np.clip(x * 0.8796, -2, 2)  # 0.8796 is the standard deviation of a unit normal cut at +-2
    cdfs = (
        ndtr(x),
        (ndtr(cut) - ndtr(-2)) / (ndtr(2) - ndtr(-2)),
        np.clip(0.5 + x / (2 * math.sqrt(3)), 0, 1),
    )
    above, below = np.arange(1, n + 1) / n, np.arange(n) / n
    return math.sqrt(n) * min(float(max(np.max(above - c), np.max(c - below))) for c in cdfs)


def edge_ratio(matrix: Tensor, *, iterations: int = 24) -> float:
    """Largest singular value of ``matrix`` ``[rows, columns]``, less its mean, over the edge
    ``std x (sqrt(rows) + sqrt(columns))``.

    By power iteration from a fixed start: cheap, and a little low for a random matrix, whose edge is crowded.
    """
    m = matrix.detach().float()
    m = m - m.mean()  # the edge is that of entries around zero; an initialiser may draw from [0, 1]
    std = float(m.std())
    if std == 0 or not math.isfinite(std):
        return math.inf
    v = _start(m.shape[1]).to(m.device)
    for _ in range(iterations):
        v = m.T @ (m @ v)
        v = v / v.norm()
    return float((m @ v).norm()) / (std * (math.sqrt(m.shape[0]) + math.sqrt(m.shape[1])))


def _start(n: int) -> Tensor:
    """The same vector each time, of the host's generator whatever the user's default device is."""
    return torch.randn(n, generator=torch.Generator("cpu").manual_seed(0), dtype=torch.float32, device="cpu")


def edge_ratio_of_shards(weight: Tensor, *, iterations: int = 24) -> float:
    """:func:`edge_ratio` of a weight whose rows lie on several ranks: each multiplies with its own, and sums cross over."""
    m = shards.local(weight.detach()).flatten(1).float()
    rows, n = weight.shape[0], weight.numel()
    mean = float(shards.total(m.sum(), weight)) / n
    m = m - mean
    std = math.sqrt(float(shards.total(m.square().sum(), weight)) / (n - 1))
    if not std > 1e-6 * abs(mean) or not math.isfinite(std):  # constant, but for rounding in the mean
        return math.inf
    v = _start(m.shape[1]).to(m.device)
    for _ in range(iterations):
        v = shards.total(m.T @ (m @ v), weight)
        v = v / v.norm()
    norm = math.sqrt(float(shards.total((m @ v).square().sum(), weight)))
    return norm / (std * (math.sqrt(rows) + math.sqrt(n / rows)))


@torch.no_grad()
def of_weight(weight: Tensor, *, seed: int = 0, least: int = MIN_WEIGHTS) -> Provenance:
    """Where one weight tensor (two or more dimensions) came from; UNKNOWN if it has less than ``least`` entries."""
    if weight.numel() < least:
        return Provenance.UNKNOWN
    ks = ks_distance(shards.sample(weight, _ENTRIES, seed=seed).numpy())
    edge = _edge_ratio(weight.detach())
    if math.isinf(edge):  # constant, or not finite: no initialiser's draw, and no training's work either
        return Provenance.UNKNOWN
    if ks < KS_RANDOM and edge < EDGE_RANDOM:
        return Provenance.RANDOM
    if (ks > KS_TRAINED and edge > EDGE_RANDOM) or edge > EDGE_TRAINED:
        return Provenance.TRAINED
    return Provenance.UNKNOWN


def _edge_ratio(weight: Tensor) -> float:
    found = shards.cut(weight)
    if found is None:
        return edge_ratio(shards.local(weight).flatten(1))
    if found[1] == 0:
        return edge_ratio_of_shards(weight)
    return edge_ratio(weight.full_tensor().flatten(1))  # type: ignore[attr-defined]  # cut across rows: rare, and once a run


def of_groups(groups: Sequence[Sequence[nn.Parameter]], known: Sequence[Provenance] = ()) -> tuple[Provenance, ...]:
    """Where each group's weights came from. One with too few entries to tell is as random as the others, if none is trained; beside
    trained ones it is if nothing speaks against it. Where all weights of the net are zeros, as softmax regression begins, they are
    random too: no training has been there.

    Args:
        groups: the parameters of each group.
        known: what was found of the first groups, before any step: they are not looked at again.
    """
    own = [*known, *(of_group(params) for params in groups[len(known) :])]
    new = zip(groups[len(known) :], own[len(known) :], strict=True)
    if any(p.has_learned for p in own):
        return (*known, *(Provenance.RANDOM if _too_small(g) and _looks_new(g) else p for g, p in new))
    if Provenance.RANDOM not in own:
        weights = [p for params in groups for p in params if p.ndim >= 2 and p.numel()]
        zero = not known and weights and all(map(_is_zero, weights))
        return (Provenance.RANDOM,) * len(own) if zero else tuple(own)
    return (*known, *(Provenance.RANDOM if _too_small(g) else p for g, p in new))


def few(groups: Sequence[Sequence[nn.Parameter]], found: Sequence[Provenance]) -> tuple[int, ...]:
    """The groups of a net of which no weight has entries enough, so that trained or not it looks the same; none of other nets.

    Source: ten nets of 48 to 800 weights, trained in 100 to 400 steps: of most, all weights still look random.
    """
    small = tuple(i for i, params in enumerate(groups) if _too_small(params))
    others = (params for i, params in enumerate(groups) if i not in small)
    if set(found) != {Provenance.UNKNOWN} or any(p.ndim >= 2 for params in others for p in params):
        return ()
    return small


def _looks_new(params: Sequence[nn.Parameter]) -> bool:
    """The last of these weights, which may be few, are as an initialiser draws them."""
    weights = [p for p in params if p.ndim >= 2]
    return bool(weights) and of_weight(weights[-1], least=FEW_WEIGHTS) is Provenance.RANDOM


def _too_small(params: Sequence[nn.Parameter]) -> bool:
    """No weight of the group has entries enough; and it has one that is no constant, which some nets begin a branch with."""
    weights = [p for p in params if p.ndim >= 2]
    return all(p.numel() < MIN_WEIGHTS for p in weights) and any(map(_varies, weights))


@torch.no_grad()
def _varies(weight: Tensor) -> bool:
    stride = max(1, weight.numel() // _ENTRIES)
    read = shards.entries(weight.detach(), torch.arange(0, weight.numel(), stride, device=weight.device))
    if len(read) > 1:
        return bool((read != read[:1]).any())
    return read.tolist() not in ([], [0.0], [1.0])


@torch.no_grad()
def _is_zero(weight: Tensor) -> bool:
    return not shards.sample(weight, _ENTRIES).any()


def of_group(params: Sequence[nn.Parameter]) -> Provenance:
    """Where a group's weights came from, by its largest few tensors: RANDOM only if most of what was tested says so and none of it
    is TRAINED; TRAINED as soon as a quarter of it is, or MIXED if the last weight looks new. Tensors that begin as a constant say
    nothing of the others."""
    weights = [p for p in params if p.ndim >= 2 and p.numel() >= MIN_WEIGHTS]
    weights.sort(key=lambda p: p.numel(), reverse=True)
    share = dict.fromkeys(Provenance, 0)
    for w in itertools.islice(filter(_varies, weights), _TENSORS):
        share[of_weight(w)] += w.numel()
    total = sum(share.values())
    if share[Provenance.TRAINED] >= total / 4 and total:
        return Provenance.MIXED if _looks_new(params) else Provenance.TRAINED
    if share[Provenance.RANDOM] > total / 2 and not share[Provenance.TRAINED]:
        return Provenance.RANDOM
    return Provenance.UNKNOWN
