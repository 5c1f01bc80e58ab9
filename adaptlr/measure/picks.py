"""Places to sample, chosen by arithmetic: no random generator is touched, and every version of every library picks the same.

The mixing is that of splitmix64 (Steele, Lea & Flood, Fast splittable pseudorandom number generators, 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def mixed(seed: int, salt: int) -> int:
    """A well-mixed number below 2**64 from a seed."""
    z = (seed + salt * _GOLDEN) & _WORD
    z = ((z ^ (z >> 30)) * _FIRST) & _WORD
    z = ((z ^ (z >> 27)) * _SECOND) & _WORD
    return z ^ (z >> 31)


def scattered(total: int, n: int, seed: int) -> Tensor:
    """``n`` places out of ``range(total)``, int64 [n] on the host, rising: one anywhere in each of ``n`` stretches of equal length.

    >>> scattered(10, 10, seed=0).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> len(scattered(10**9, 2048, seed=0))
    2048
    """
    if not 0 <= n <= total:
        raise ValueError(f"cannot pick {n} different places out of {total}")
    edges = torch.arange(n + 1, device="cpu") * total // max(n, 1)
    anywhere = _mixed_all(mixed(seed, 1), n) & ((1 << 63) - 1)
    return edges[:-1] + anywhere % edges.diff()


def _mixed_all(seed: int, n: int) -> Tensor:
    """:func:`mixed` of a seed and each of ``range(n)``, as int64: its products wrap around as unsigned ones do."""
    z = _signed(seed) + torch.arange(n, device="cpu") * _signed(_GOLDEN)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z = (z ^ _shifted(z, shift)) * _signed(factor)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """To the right, with zeros coming in from the left."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
