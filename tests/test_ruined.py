"""A run that begins with what an earlier one has ruined: it is said, and no learning rate is blamed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from adaptlr import Action, Controller, Kind
from tests.loops.half import InHalf
from tests.nets import OPTIMIZERS, batches, convnet, fit, quiet, same, with_bad


def thrown(optimizer: str, lr: float, *, act: type[nn.Module] = nn.ReLU, steps: int = 40) -> nn.Sequential:
    """A net after a run at a learning rate that ruins it, which nobody watched."""
    torch.manual_seed(0)
    model = convnet(act, norm=False)
    fit(model, OPTIMIZERS[optimizer](model.parameters(), lr=lr), batches(steps))
    return model


def watch(
    model: nn.Module, lr: float = 1e-3, *, steps: int = 60, data: Iterator[tuple[Tensor, Tensor]] | None = None
) -> Controller:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    with Controller(model, optimizer, announce=quiet, total_steps=steps) as ctl:
        fit(model, optimizer, data or batches(steps, seed=1), ctl)
    return ctl


def test_weights_that_are_not_finite() -> None:
    ctl = watch(thrown("sgd", 1e3))
    assert [(d.step, d.action, d.findings) for d in ctl.decisions] == [(0, Action.STOP, (Kind.RUINED,))]
    assert "weights were not finite" in ctl.decisions[0].message
    assert ctl.scales == (1.0,)


def test_a_net_that_is_silent() -> None:
    model = thrown("adam", 10.0)
    ctl = watch(model)
    assert [(d.step, d.action, d.findings) for d in ctl.decisions] == [(7, Action.STOP, (Kind.RUINED,))]
    assert "at zero when this run began" in ctl.decisions[0].message
    assert ctl.scales == (1.0,)


def test_weights_that_were_thrown_far_are_raised_if_they_hardly_move() -> None:
    """Nothing in them is worth sparing."""
    model = thrown("adam", 3.0, act=nn.Tanh)
    first, *others = watch(model).decisions
    assert (first.step, first.action, first.findings) == (7, Action.HOLD, (Kind.RUINED,))
    assert "times as large as initialisations make them" in first.message
    assert [d.action for d in others[:1]] == [Action.RESCALE]
    assert not any(d.advice for d in others), "that learning rate would ruin a net that is built anew"


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e3), ("adam", 10.0)])
def test_watching_alone_says_it_once_and_touches_nothing(optimizer: str, lr: float) -> None:
    plain, watched = thrown(optimizer, lr), thrown(optimizer, lr)
    fit(plain, torch.optim.Adam(plain.parameters(), lr=1e-3), batches(60, seed=1))
    said = list[str]()
    with Controller(
        watched, opt := torch.optim.Adam(watched.parameters(), lr=1e-3), act=False, announce=lambda f: said.append(f.message)
    ) as ctl:
        fit(watched, opt, batches(60, seed=1), ctl)
    assert len(said) == 1
    assert "build the model anew" in said[0]
    assert same(plain.state_dict(), watched.state_dict())


def test_a_first_batch_that_is_not_finite_costs_no_learning_rate() -> None:
    torch.manual_seed(0)
    model = convnet(norm=False)
    ctl = watch(model, 3e-3, steps=80, data=with_bad(batches(80, seed=1), {0}))
    assert [(d.step, d.action) for d in ctl.decisions] == [(0, Action.ROLLBACK)]
    assert "bad batch" in ctl.decisions[0].message
    assert ctl.scales == (1.0,)
    assert ctl.trace.readings[-1].loss < 1.0


def test_data_that_is_never_finite_is_no_learning_rates_fault() -> None:
    ctl = watch(convnet(norm=False), data=with_bad(batches(60, seed=1), range(60)))
    assert [d.action for d in ctl.decisions] == [Action.ROLLBACK, Action.ROLLBACK, Action.STOP]
    assert "inputs" in ctl.decisions[-1].message
    assert ctl.scales == (1.0,)


@pytest.mark.parametrize("act", [True, False])
def test_nor_where_a_scaler_skips_every_step(act: bool) -> None:
    """It is said after three batches, and the run goes on: the scaler has kept the weights."""
    run = InHalf(3e-3, fused=False, act=act)
    ctl = run.train(60, spoilt=range(9))
    assert [f.kind for f in ctl.findings] == [Kind.RUINED]
    assert "on 3 batches" in ctl.findings[0].message
    assert [(d.step, d.action) for d in ctl.decisions] == [(0, Action.HOLD)] * act
    assert run.losses[-1] < 1.5


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_nothing_is_said_after_a_good_run(optimizer: str) -> None:
    ctl = watch(thrown(optimizer, {"adam": 3e-3, "sgd": 0.03}[optimizer], steps=150))
    assert Kind.RUINED not in [f.kind for f in ctl.findings]
