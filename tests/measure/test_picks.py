"""Which places are sampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptlr.measure.picks import _mixed_all, mixed, scattered


def test_mixed_as_published() -> None:
    """Source: the first outputs of the reference implementation of splitmix64 for the seed 1234567, each of one more addition."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [mixed(1234567, k) for k in range(1, 6)] == published


@given(st.integers(0, 2**64 - 1), st.integers(0, 40))
def test_all_at_once_are_those_one_by_one(seed: int, n: int) -> None:
    assert [z % 2**64 for z in _mixed_all(seed, n).tolist()] == [mixed(seed, k) for k in range(n)]


@given(st.integers(0, 10**11), st.integers(0, 3000), st.integers(0, 2**40))
def test_one_place_in_each_stretch(total: int, n: int, seed: int) -> None:
    n = min(n, total)
    places = scattered(total, n, seed)
    assert places.dtype == torch.int64
    assert len(places) == n
    for i, place in enumerate(places.tolist()):
        assert i * total // n <= place < (i + 1) * total // n


def test_as_good_as_independent_draws() -> None:
    """Places within the stretches are uniform, and those of two seeds have nothing to do with each other."""
    a, b = ((scattered(4096 * 1000, 4096, seed) % 1000).numpy() for seed in (0, 1))
    for places in (a, b):
        counts = np.bincount(places // 100, minlength=10)
        assert ((counts - 409.6) ** 2 / 409.6).sum() < 27.9  # chi-squared of 9 degrees, 0.1%
    assert abs(np.corrcoef(a, b)[0, 1]) < 3.3 / 64
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 3.3 / 64


def test_the_same_for_ever() -> None:
    """A run that is stopped goes on with the coordinates that it began with."""
    assert scattered(1000, 5, seed=0).tolist() == [71, 247, 446, 631, 830]


def test_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="11 different places out of 10"):
        scattered(10, 11, seed=0)
