"""The counts of :mod:`adaptlr.measure.stats` in numpy, for activations in the processor's memory: a quarter of the time there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Bars:
    """What is near zero, and for whom; the histogram of |a|. The numbers are those of :mod:`adaptlr.measure.stats`."""

    quiet_of_rms: float
    dormant_of_mean: float
    fastai_near_zero: float
    histc_max: float
    histc_bin: float
    min_per_unit: int


def count_on_host(values: np.ndarray, bars: Bars, *, hist_bins: int, hist_max: float) -> np.ndarray:
    """As :func:`adaptlr.measure.stats.count_on_device`, for ``values`` [units, places], not empty."""
    with np.errstate(all="ignore"):
        units, n = values.shape[0], values.size
        places = n // units
        flat = values.reshape(-1)
        safe = flat.astype(np.float64)
        sumsq = float(safe.dot(safe))
        finite = None
        if not math.isfinite(sumsq):  # a NaN must not poison the sums
            finite = np.isfinite(safe)
            safe = np.where(finite, safe, 0.0)
            sumsq = float(safe.dot(safe))
        n_finite = n if finite is None else int(np.count_nonzero(finite))
        n_nan = 0 if finite is None else _n(np.isnan(flat))
        total = float(np.add.reduce(safe))
        safe_size = np.abs(safe, out=safe)
        quiet = safe_size <= bars.quiet_of_rms * math.sqrt(sumsq / max(n_finite, 1))
        if finite is not None:
            quiet &= finite
        size = np.abs(flat)
        all_in_range = finite is None and float(safe_size.max()) <= hist_max
        in_range = None if all_in_range else size <= hist_max
        n_in_range = n if in_range is None else _n(in_range)
        below = _n(flat < 0)  # of a NaN neither this holds nor what it is taken from
        dormant, of = 0, 0
        if units >= 2 and places >= bars.min_per_unit:
            per_unit = np.add.reduce(safe_size.reshape(units, places), axis=1)
            dormant, of = _n(per_unit <= bars.dormant_of_mean * (np.add.reduce(per_unit) / units)), units
        wide = all_in_range and bars.histc_max >= hist_max
        head = (
            n,
            n - n_finite,
            total,
            sumsq,
            _n(quiet),
            _n(flat < 2 * bars.histc_bin) - below,
            (n if wide else _n(flat <= bars.histc_max)) - below,
            _n(flat <= bars.fastai_near_zero),
            _n(size < bars.histc_bin),
            n if wide else _n(size <= bars.histc_max),
            below,
            n - n_in_range - n_nan,
            dormant,
            of,
        )
        hist = _histogram(safe_size, in_range, hist_bins, hist_max)
    return np.concatenate([np.array(head, dtype=np.float64), hist])


def _n(flags: np.ndarray) -> int:
    return int(np.count_nonzero(flags))


def _histogram(size: np.ndarray, in_range: np.ndarray | None, bins: int, top: float) -> np.ndarray:
    """Counts of ``size``, which is written over, in equal bins over [0, top], of those ``in_range``; None: of all."""
    if in_range is not None:
        size = size[in_range]
    at = np.multiply(size, bins / top, out=size).astype(np.intp)
    counts = np.bincount(at, minlength=bins)
    counts[bins - 1] += counts[bins:].sum()  # the upper edge itself
    return counts[:bins]
