"""Nets on targets as they are, far from zero: a good learning rate is left alone, and a low one raised until it gets there."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from sklearn.datasets import make_friedman1
from torch import nn

from adaptlr import Action, Controller
from tests.nets import fit, quiet

STEPS = 200


def learned(lr: float, *, watched: bool) -> tuple[float, Controller]:
    """Share of the variance of prices of 200,000 and more that a small net explains; and what watched it, if that was asked for."""
    x, y = make_friedman1(800, noise=1.0, random_state=0)
    inputs, targets = torch.tensor(x - 0.5).float() / 0.29, 200_000 + 15_000 * torch.tensor(y).float()[:, None]
    order = torch.Generator().manual_seed(0)
    picks = [torch.randint(600, (64,), generator=order) for _ in range(STEPS)]
    data = [(inputs[pick], targets[pick]) for pick in picks]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    ctl = Controller(model, optimizer, total_steps=STEPS, announce=quiet)
    with ctl if watched else nullcontext():
        fit(model, optimizer, data, ctl if watched else None, loss_of=nn.functional.mse_loss)
    with torch.no_grad():
        return 1 - float((model(inputs[600:]) - targets[600:]).square().mean() / targets[600:].var()), ctl


@pytest.mark.parametrize("lr", [1e-5, 1e-3])
def test_what_is_too_low_is_raised_until_it_gets_there(lr: float) -> None:
    plain, _ = learned(lr, watched=False)
    now, ctl = learned(lr, watched=True)
    assert plain < -2
    assert now > 0.4
    assert ctl.decisions[0].action is Action.RESCALE
    assert any("normalise" in d.message for d in ctl.decisions)


def test_steps_that_have_to_be_as_large_as_the_weights_are_left_alone() -> None:
    plain, _ = learned(1.0, watched=False)
    now, ctl = learned(1.0, watched=True)
    assert ctl.decisions == []
    assert now == plain > 0.4
