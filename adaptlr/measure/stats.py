"""Tensor -> a vector of additive counts, on the tensor's device and without waiting for it.

A fixed, seeded set of positions is read, so that the cost is the same however large the tensor is. Everything counted is a sum:
calls of one module, micro-batches and ranks merge by ``+``. Two counts depend on their own call and are decided in it, before
merging: *quiet* (relative to the call's RMS) and *dormant* (relative to the call's mean).
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adaptlr.measure.host_counts import Bars, count_on_host
from adaptlr.measure.picks import mixed
from adaptlr.records import StageReading

QUIET_OF_RMS = 1e-2  # |a| at or below this share of the RMS is quiet
DORMANT_OF_MEAN = 0.025  # a unit whose mean |a| is at or below this share of the layer's (Sokar et al. 2023)
FASTAI_NEAR_ZERO = 0.05  # fastai v2, ActivationStats: a <= 0.05
HISTC_MAX, HISTC_BIN = 10.0, 0.25  # histc(40, 0, 10) of fastai v1 and miniai
MIN_PER_UNIT = 8  # with fewer activations of a unit, silence says nothing about it

_BARS = Bars(
    quiet_of_rms=QUIET_OF_RMS,
    dormant_of_mean=DORMANT_OF_MEAN,
    fastai_near_zero=FASTAI_NEAR_ZERO,
    histc_max=HISTC_MAX,
    histc_bin=HISTC_BIN,
    min_per_unit=MIN_PER_UNIT,
)

COUNTERS = (
    *("n", "nonfinite", "sum", "sumsq", "quiet", "seed_low", "seed_in_range", "fastai_low", "miniai_low", "miniai_in_range"),
    *("negative", "over_range", "dormant", "units"),
)  # the histogram of |a| follows them


@dataclass(frozen=True, kw_only=True)
class ActivationSample:
    """Which activations of a tensor are read: the same ones each time, chosen by arithmetic, with no random generator involved.

    Up to ``size // per_unit`` units (channels) are taken at even distances, and from each the same number of places, every unit
    at other ones; a stride that is coprime to the number of places (near its golden section) spreads them over the batch and the
    image alike, and reads none twice. Units are dimension 1 of tensors with 4 or 5 dimensions, and the last one otherwise.
    A tensor of at most ``size`` activations, with at most ``size // per_unit`` units, is read whole.

    Attributes:
        size: most activations read from one tensor.
        per_unit: activations that a unit has at least, where the tensor is large enough. A unit that is active in a share q of
            places is taken for dormant with a chance of about (1 - q) ** per_unit, so that more makes ``dormant_frac`` surer.
        seed: shifts the positions.
    """

    size: int = 8192
    per_unit: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.per_unit <= self.size:
            raise ValueError(f"per_unit must lie in [1, size]; got per_unit={self.per_unit}, size={self.size}")

    def take(self, x: Tensor, place: Callable[[int], Tensor] | None = None) -> Tensor:
        """The sampled activations [units, places], detached, as float32 (float64 stays); no copy of the rest is made.

        Args:
            x: of two or more dimensions; a vector is one unit.
            place: gives a vector of a length, of the type of ``x``, to put them in as they are.

        >>> ActivationSample().take(torch.zeros(64, 16, 32, 32)).shape
        torch.Size([16, 512])
        """
        x = x.detach()
        x = x.reshape(-1, 1) if x.ndim < 2 else x
        index, units = _offsets(self, tuple(x.shape), x.stride(), x.device)
        if units == 0:
            return x.new_zeros((0, 0), dtype=torch.float32)
        extent = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
        flat = x.as_strided((extent,), (1,))
        if place is not None:
            return torch.index_select(flat, 0, index, out=place(len(index))).view(units, -1)
        return single(flat.index_select(0, index).view(units, -1))


def single(values: Tensor) -> Tensor:
    """In single precision, or in double if it was."""
    return values if values.dtype == torch.float64 else values.float()


@functools.lru_cache(maxsize=128)
def _offsets(
    sample: ActivationSample, shape: tuple[int, ...], strides: tuple[int, ...], device: torch.device
) -> tuple[Tensor, int]:
    """Offsets in memory of the sampled activations [units * places], and the number of units."""
    unit_dim = 1 if len(shape) in (4, 5) else len(shape) - 1
    total, channels = math.prod(shape) // max(shape[unit_dim], 1), shape[unit_dim]
    if total * channels == 0:
        return torch.empty(0, dtype=torch.int64, device=device), 0
    units = min(channels, max(sample.size // sample.per_unit, 1))
    places = min(total, max(sample.size // units, 1))
    unit = torch.arange(units, device=device)
    unit_at = unit * channels // units + mixed(sample.seed, 1) % max(channels // units, 1)
    order = torch.arange(units * places, device=device).view(units, places)
    at = (mixed(sample.seed, 2) % total + order * _coprime_near_golden(total)) % total
    offset = (unit_at * strides[unit_dim]).view(-1, 1)
    for dim in reversed(range(len(shape))):
        if dim != unit_dim:
            offset = offset + at % shape[dim] * strides[dim]
            at = at // shape[dim]
    return offset.reshape(-1), units


def _coprime_near_golden(n: int) -> int:
    step = max(round(n * 0.6180339887498949), 1)
    while math.gcd(step, n) != 1:
        step += 1
    return step


def count(values: Tensor, *, hist_bins: int = 40, hist_max: float = 10.0) -> Tensor:
    """Counts of sampled activations, as a vector [len(COUNTERS) + hist_bins] on their device, float64 (float32 on MPS).

    Non-finite values are counted as such and kept out of the sums; in comparisons they count as IEEE has it (-inf is negative).

    Args:
        values: [units, places], from :meth:`ActivationSample.take`; a vector is one unit.
        hist_bins: equal bins of |a| over [0, hist_max], the upper edge included.
        hist_max: upper edge; what lies above is over range.

    >>> c = count(torch.tensor([[0.0, -1.0, 20.0, float("nan")]]))
    >>> [c[COUNTERS.index(k)].item() for k in ("n", "nonfinite", "sum", "negative", "over_range")]
    [4.0, 1.0, 19.0, 1.0, 1.0]
    """
    return count_all([values], hist_bins=hist_bins, hist_max=hist_max)[0]


def count_all(samples: Sequence[Tensor], *, hist_bins: int = 40, hist_max: float = 10.0) -> list[Tensor]:
    """:func:`count` of each. On an accelerator, those of one size are counted together: it is operations that cost there."""
    out: dict[int, Tensor] = {}
    together: defaultdict[tuple[torch.device, torch.dtype, int], list[int]] = defaultdict(list)
    for i, values in enumerate(samples):
        if values.numel() == 0:
            out[i] = torch.zeros(len(COUNTERS) + hist_bins, dtype=_wide(values), device=values.device)
        elif values.device.type == "cpu":
            out[i] = torch.from_numpy(count_on_host(_by_unit(values).numpy(), _BARS, hist_bins=hist_bins, hist_max=hist_max))
        else:
            together[values.device, values.dtype, values.numel()].append(i)
    for indices in together.values():
        rows = count_on_device([samples[i] for i in indices], hist_bins=hist_bins, hist_max=hist_max)
        out.update(zip(indices, rows.unbind(), strict=True))
    return [out[i] for i in range(len(samples))]


def _by_unit(values: Tensor) -> Tensor:
    return values.view(1, -1) if values.ndim == 1 else values


def _wide(values: Tensor) -> torch.dtype:
    return torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no float64


@torch.no_grad()
def count_on_device(samples: Sequence[Tensor], *, hist_bins: int, hist_max: float) -> Tensor:
    """:func:`count` in plain torch, on any device: what the numbers mean.

    Args:
        samples: each [units, places], of one size and device, not empty.

    Returns:
        [samples, counters]
    """
    values = torch.stack([v.reshape(-1) for v in samples])
    wide = _wide(values)
    size = values.abs()
    finite = values.isfinite()
    safe = values.where(finite, 0).to(wide)  # a NaN must not poison the sums
    safe_size = safe.abs()
    sumsq = (safe * safe).sum(1)
    n_finite = finite.sum(1)
    in_range = size <= hist_max
    quiet = (safe_size <= QUIET_OF_RMS * (sumsq / n_finite.clamp(min=1)).sqrt().unsqueeze(1)) & finite
    flags = torch.stack(
        [
            ~finite,
            quiet,
            (values >= 0) & (values < 2 * HISTC_BIN),
            (values >= 0) & (values <= HISTC_MAX),
            values <= FASTAI_NEAR_ZERO,
            size < HISTC_BIN,
            size <= HISTC_MAX,
            values < 0,
            size > hist_max,
        ]
    )
    nonfinite, *rest = flags.sum(2).to(wide).unbind()
    dormant, units = zip(*[_dormant(s.view_as(_by_unit(v))) for s, v in zip(safe_size, samples, strict=True)], strict=True)
    bins = (safe_size * (hist_bins / hist_max)).clamp(max=hist_bins - 1).to(torch.int64).where(in_range, hist_bins)
    ones = torch.ones((), dtype=torch.int32, device=values.device).expand(bins.shape)
    # histc and bincount either wait for the device or are refused by torch.use_deterministic_algorithms; this does neither.
    hist = torch.zeros(len(samples), hist_bins + 1, dtype=torch.int32, device=values.device).scatter_add_(1, bins, ones)[:, :-1]
    n = torch.full_like(sumsq, values.shape[1])
    head = torch.stack([n, nonfinite, safe.sum(1), sumsq, *rest, torch.stack(dormant), torch.stack(units)], dim=1)
    return torch.cat([head, hist.to(wide)], dim=1)


def _dormant(size: Tensor) -> tuple[Tensor, Tensor]:
    """Number of dormant units, and of units; both 0 where units are too few, or too little of each was seen."""
    if size.shape[0] < 2 or size.shape[1] < MIN_PER_UNIT:
        return size.new_zeros(()), size.new_zeros(())
    per_unit = size.mean(1)
    return (per_unit <= DORMANT_OF_MEAN * per_unit.mean()).sum().to(size.dtype), size.new_full((), size.shape[0])


def stage_reading(
    counts: Tensor | npt.ArrayLike, *, name: str, path: str, group: int | None, hist_max: float = 10.0
) -> StageReading:
    """Counts on the host, merged over calls, micro-batches and ranks -> what is on record for a stage.

    Every fraction is of all activations sampled, but for the seed's and miniai's, which are of those within the range, as there.

    Raises:
        ValueError: nothing was counted.
    """
    flat = np.asarray(counts, dtype=np.float64).tolist()
    c = dict(zip(COUNTERS, flat, strict=False))
    if not c["n"] > 0:
        raise ValueError(f"stage {name!r}: no activation was counted")
    n_finite = c["n"] - c["nonfinite"]
    mean, square = _ratio(c["sum"], n_finite), _ratio(c["sumsq"], n_finite)
    return StageReading(
        name=name,
        path=path,
        group=group,
        n=int(c["n"]),
        mean=mean,
        std=math.sqrt(max(square - mean * mean, 0.0)) if math.isfinite(square) else square,
        rms=math.sqrt(square),
        quiet_frac=c["quiet"] / c["n"],
        near_zero_seed_frac=_ratio(c["seed_low"], c["seed_in_range"]),
        near_zero_fastai_frac=c["fastai_low"] / c["n"],
        near_zero_miniai_frac=_ratio(c["miniai_low"], c["miniai_in_range"]),
        negative_frac=c["negative"] / c["n"],
        over_range_frac=c["over_range"] / c["n"],
        nonfinite_frac=c["nonfinite"] / c["n"],
        dormant_frac=c["dormant"] / c["units"] if c["units"] else None,
        hist=tuple(map(int, flat[len(COUNTERS) :])),
        hist_max=hist_max,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def standard_error(frac: float, n: int) -> float:
    """Standard error of a fraction estimated from n independent draws, sqrt(p (1 - p) / n).

    Activations of one channel resemble each other, so that the true error is larger where not all channels are read:
    :func:`adaptlr.measure.errors.sampling_error` gives it from the sample itself.

    >>> standard_error(0.5, 10_000)
    0.005
    """
    if not (0 <= frac <= 1 and n >= 1):
        raise ValueError(f"frac must lie in [0, 1] and n be at least 1; got frac={frac}, n={n}")
    return math.sqrt(frac * (1 - frac) / n)
