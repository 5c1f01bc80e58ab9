"""What a model tells of itself before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adaptlr.measure.beginning import guess, size
from tests.nets import convnet


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        pytest.param(lambda w: None, 1 / math.sqrt(3), id="torchs-own"),
        pytest.param(nn.init.kaiming_normal_, math.sqrt(2), id="kaiming"),
        pytest.param(nn.init.orthogonal_, 1.0, id="orthogonal"),
    ],
)
def test_an_initialisation_has_a_size_of_about_one_whatever_the_shape(init: Callable[[Tensor], object], expected: float) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(16, 64, 3), nn.Linear(500, 100), nn.Linear(100, 100)]
    for layer in layers:
        init(layer.weight)
    assert size(nn.Sequential(*layers, nn.BatchNorm1d(100))) == pytest.approx(expected, rel=0.1)


def test_size_grows_with_the_weights_and_is_not_asked_of_embeddings_or_frozen_ones() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(256, 64), nn.Linear(64, 64)]
    model = nn.Sequential(nn.Embedding(1000, 256), *layers)
    before = size(model)
    assert before is not None
    for layer in layers:
        layer.weight.data.mul_(40)
    assert size(model) == pytest.approx(40 * before)
    for layer in layers:
        layer.requires_grad_(False)
    assert size(model) is None


def test_one_weight_that_is_not_finite_is_enough() -> None:
    model = convnet()
    for p in list(model.parameters())[-2:]:
        p.data.fill_(math.nan)
    assert size(model) == math.inf


def test_size_reads_and_draws_nothing_else() -> None:
    model = convnet()
    rng, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    size(model)
    assert torch.equal(rng, torch.get_rng_state())
    assert all(map(torch.equal, weights, model.parameters()))


def test_guessing_costs_the_logarithm_of_the_answers() -> None:
    assert guess(convnet()) == pytest.approx(math.log(10))
    assert guess(nn.Linear(8, 1)) is None, "regression"
    assert guess(nn.LayerNorm(8)) is None
