"""What the first normalisation remembers."""

from __future__ import annotations

import torch
from torch import nn

from adaptlr.measure.norms import first_norm, running_variance


def test_the_first_that_keeps_a_running_variance() -> None:
    bn = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(4), nn.Sequential(bn, nn.BatchNorm2d(3)))
    assert first_norm(model) is bn
    assert first_norm(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))) is None
    assert first_norm(nn.Sequential(nn.BatchNorm1d(0), bn)) is bn  # its mean would be NaN


def test_its_mean_over_channels_of_the_buffer_as_it_is_now() -> None:
    bn = nn.BatchNorm1d(2)
    seen = running_variance(bn)
    assert seen is not None
    assert seen.item() == 1.0
    bn.running_var = torch.tensor([1.0, 5.0])  # replaced, not written to
    now = running_variance(bn)
    assert now is not None
    assert (seen.item(), now.item()) == (1.0, 3.0)  # the first answer is a copy
    assert running_variance(None) is None
