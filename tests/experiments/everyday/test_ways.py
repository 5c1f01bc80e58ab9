"""Ways to train: each does what its name says, and nothing to the others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments.everyday.ways import WAYS

X, Y = torch.rand(500, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.arange(500) % 10


def batch(way: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    return WAYS[way].batch(X, Y, step, 100, torch.Generator().manual_seed(step))


def test_sizes_of_batches() -> None:
    sizes = {way: [len(batch(way, step)[1]) for step in (0, 18, 19, 39)] for way in WAYS}
    assert sizes.pop("batches of 2") == [2, 2, 2, 2]
    assert sizes.pop("ragged batches") == [64, 64, 2, 2]
    assert sizes.pop("summed loss") == [64, 64, 16, 16]
    assert all(s == [64] * 4 for s in sizes.values())


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("warm restarts", {0: 1.0, 1 / 8: 0.5, 1 / 4: 1.0, 5 / 8: 0.5, 3 / 4: 1.0}),
        ("triangular cycles", {0: 0.1, 1 / 12: 0.55, 1 / 6: 1.0, 1 / 3: 0.1, 1 / 2: 1.0}),
        ("steps down", {0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01}),
        ("long warm-up", {0: 0.005, 1 / 4: 0.505, 1 / 2: 1.0, 3 / 4: 1.0}),
    ],
)
def test_schedules(way: str, expected: dict[float, float]) -> None:
    multiplier = WAYS[way].multiplier
    assert multiplier is not None
    assert {at: multiplier(at) for at in expected} == pytest.approx(expected)


def test_new_classes_come_after_two_fifths() -> None:
    assert set(batch("new classes", 39)[1].tolist()) == {0, 1, 2, 3}
    assert set(batch("new classes", 40)[1].tolist()) == set(range(10))


def test_images_are_blurred_until_then() -> None:
    order = torch.Generator().manual_seed(39)
    sharp = X[torch.randint(len(X), (64,), generator=order)]
    assert batch("sharper images", 39)[0].var() < 0.2 * sharp.var()
    assert torch.equal(batch("sharper images", 40)[0], batch("batches of 64", 40)[0])


def test_half_of_the_labels_are_random_the_same_in_every_run() -> None:
    noisy = WAYS["half the labels random"].labels(Y)
    assert torch.equal(noisy, WAYS["half the labels random"].labels(Y))
    assert 0.45 < float((noisy == Y).float().mean()) < 0.65
    assert torch.equal(WAYS["batches of 64"].labels(Y), Y)


def test_the_first_half_of_the_weights_is_frozen_until_then() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    way = WAYS["late unfreezing"]
    trained = []
    for step in range(50):
        way.freeze(net, step, 100)
        trained.append([p.requires_grad for p in net.parameters()])
    assert trained == [[False, False, True, True]] * 40 + [[True] * 4] * 10


def test_losses() -> None:
    net, order = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        usual = float(WAYS["batches of 64"].loss(net, X, Y, order, 0.5))
        assert float(WAYS["summed loss"].loss(net, X, Y, order, 0.5)) == pytest.approx(usual * len(Y), rel=1e-4)
        weights = [float(WAYS["weighted batches"].loss(net, X, Y, order, 0.5)) / usual for _ in range(200)]
        mixed = float(WAYS["mixup"].loss(net, X, Y, order, 0.5))
        smoothed = float(WAYS["label smoothing"].loss(net, X, Y, order, 0.5))
        coarse = float(WAYS["autocast to bfloat16"].loss(net, X, Y, order, 0.5))
        out = net(X)
        penalised = [float(WAYS["a growing penalty"].loss(net, X, Y, order, at)) - usual for at in (0.0, 0.25, 0.5, 1.0)]
    assert {round(w) for w in weights} == {1, 10}
    assert 10 <= sum(w > 5 for w in weights) <= 35
    assert math.isfinite(mixed)
    assert mixed != usual
    log_p = out.log_softmax(1)
    assert smoothed == pytest.approx(0.9 * usual - 0.1 * float(log_p.mean()), rel=1e-4)
    assert coarse != usual
    assert coarse == pytest.approx(usual, rel=0.01)
    whole = 0.1 * float(out.square().mean())
    assert penalised == pytest.approx([0.0, 0.5 * whole, whole, whole], abs=1e-4)
