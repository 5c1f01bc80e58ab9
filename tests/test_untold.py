"""Nets whose weights tell little of where they came from: small ones, and those that begin at zero, as softmax regression does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adaptlr import Action, Controller, Kind
from adaptlr.records import Provenance
from tests.nets import OPTIMIZERS, batches, digits, fit, quiet, same


def small() -> nn.Sequential:
    """No weight has more than 432 entries."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))


def linear(*, zero: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    layer = nn.Linear(64, 10)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer)


def watch(model: nn.Module, optimizer: str, lr: float, *, steps: int = 200, seed: int = 0) -> tuple[Controller, float]:
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    with Controller(model, opt, total_steps=steps, announce=quiet) as ctl:
        losses = fit(model, opt, batches(steps, seed=seed), ctl)
    return ctl, sum(losses[-10:]) / 10


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 1e-5), ("sgd", 1e-4)])
@pytest.mark.parametrize("make", [small, linear])
def test_a_cold_net_that_has_learned_nothing_is_raised(make: type[nn.Module], optimizer: str, lr: float) -> None:
    ctl, loss = watch(make(), optimizer, lr)
    assert [d.action for d in ctl.decisions[:1]] == [Action.RESCALE]
    assert {g.provenance for r in ctl.trace.readings for g in r.groups} == {Provenance.RANDOM}
    assert loss < 0.6


def test_one_that_has_learned_is_left_where_it_is() -> None:
    """Its weights look no less random; its first loss tells."""
    model = small()
    watch(model, "adam", 3e-3, steps=300)
    ctl, _ = watch(model, "adam", 1e-6, seed=1)
    assert {g.provenance for r in ctl.trace.readings for g in r.groups} == {Provenance.UNKNOWN}
    assert {d.action for d in ctl.decisions} <= {Action.HOLD}


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 0.03), ("adam", 0.3), ("sgd", 0.3)])
def test_softmax_regression_from_zeros_is_left_alone_where_it_trains(optimizer: str, lr: float) -> None:
    """Its first steps are many times its weights."""
    plain, watched = linear(), linear()
    fit(plain, OPTIMIZERS[optimizer](plain.parameters(), lr=lr), batches(200))
    ctl, loss = watch(watched, optimizer, lr)
    assert ctl.decisions == []
    assert loss < 0.3
    assert same(plain.state_dict(), watched.state_dict())


def test_a_cut_that_went_too_deep_is_taken_back_whatever_the_weights() -> None:
    """As far as the user's own learning rate, and no further: they are neither trained nor as an initialiser draws them."""
    torch.manual_seed(0)
    model = linear(zero=False)
    with torch.no_grad():
        next(model.parameters()).copy_(torch.rand(10, 64) ** 4)
    ctl, _ = watch(model, "adam", 3.0)
    assert {g.provenance for r in ctl.trace.readings for g in r.groups} == {Provenance.UNKNOWN}
    assert ctl.decisions[0].action is Action.ROLLBACK
    assert Action.RESCALE in [d.action for d in ctl.decisions[1:]]
    assert max(d.scales_after[0] for d in ctl.decisions) <= 1.0


def whole(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int) -> Controller:
    with Controller(model, optimizer, total_steps=steps, announce=quiet) as ctl:
        fit(model, optimizer, [(x, y)] * steps, ctl)
    return ctl


def test_a_fit_of_all_data_at_once_that_has_come_to_its_end_has_not_collapsed() -> None:
    """Its gradient fades, and its loss stands, though not at nothing."""
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = ((x[:, 0] + x[:, 1] + torch.randn(200)) > 0).long()
    model = nn.Linear(2, 2)
    ctl = whole(model, torch.optim.SGD(model.parameters(), lr=1.0), x, y, 300)
    last = ctl.trace.readings[-1]
    assert last.loss > 0.3 * ctl.trace.readings[0].loss
    assert (last.groups[0].grad_rms or 0.0) < 1e-4 * (ctl.trace.readings[0].groups[0].grad_rms or 0.0)
    assert Kind.COLLAPSE not in [f.kind for f in ctl.findings]


def test_but_one_that_is_silent_has() -> None:
    """All of its units are dead, and the bias of the last layer has learned how frequent each answer is."""
    x, y = digits()
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    few = y.clamp(max=1)
    with Controller(model, optimizer, total_steps=400, announce=quiet) as ctl:
        for i in range(400):
            if i == 20:
                with torch.no_grad():
                    layer.bias.fill_(-100.0)
            fit(model, optimizer, [(x, few)], ctl)
    assert Kind.COLLAPSE in [f.kind for f in ctl.findings]


@pytest.mark.parametrize("frozen", [True, False])
def test_whether_most_of_the_net_is_frozen_is_known(frozen: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model[1].requires_grad_(not frozen)
    with Controller(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)) as ctl:
        assert ctl._history.outlook.frozen is frozen


class Prompted(nn.Module):
    """A frozen net, and a few numbers that are added to what it sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        fit(self.net, torch.optim.Adam(self.net.parameters(), lr=3e-3), batches(200))
        self.net.requires_grad_(False)
        self.prompt = nn.Parameter(0.02 * torch.randn(1, 1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.prompt + x.flip(3))


def test_a_prompt_for_a_frozen_net_may_go_far_in_its_first_steps() -> None:
    plain, watched = (Prompted() for _ in range(2))
    expected = fit(plain, torch.optim.Adam([plain.prompt], lr=0.1), batches(120))
    optimizer = torch.optim.Adam([watched.prompt], lr=0.1)
    with Controller(watched, optimizer, total_steps=120, announce=quiet) as ctl:
        losses = fit(watched, optimizer, batches(120), ctl)
    assert max(r.groups[0].update_ratio or 0.0 for r in ctl.trace.readings) > 3
    assert sum(expected[-10:]) < 5 * expected[0], "it learns by itself"
    assert (ctl.decisions, losses) == ([], expected)
