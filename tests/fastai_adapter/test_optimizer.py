"""The port for fastai's own optimizers, without a Learner."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from fastai import optimizer
from fastai.optimizer import Lookahead, OptimWrapper
from torch import Tensor, nn

from adaptlr.act.optimizer import TorchOptimizer
from adaptlr.fastai.optimizer import FastaiOptimizer, port_of
from tests.fastai_adapter.small import assert_same

fo: Any = optimizer  # its annotations say Real, which a float is not to a type checker
KINDS: dict[str, Any] = {
    "Adam": fo.Adam,
    "SGD": partial(fo.SGD, mom=0.9),
    "plain SGD": fo.SGD,
    "RMSProp": fo.RMSProp,
    "QHAdam": fo.QHAdam,
    "Larc": fo.Larc,
    "ranger": partial(fo.ranger, k=3),
}


def two_groups() -> Any:
    torch.manual_seed(0)
    return [[nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))], [nn.Parameter(torch.randn(2, 3))]]


def train(opt: Any, steps: int, seed: int = 0) -> None:
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for params in opt.param_lists:
            for p in params:
                p.grad = torch.randn(p.shape, generator=g)
        opt.step()


def state(opt: Any) -> dict[str, Any]:
    slow = getattr(opt, "slow_weights", None)
    return {
        "state": [dict(opt.state[p]) for params in opt.param_lists for p in params],
        "count": getattr(opt, "count", None),
        "slow": None if slow is None else [list(ts) for ts in slow],
    }


def weights(opt: Any) -> list[Tensor]:
    return [p.detach().clone() for params in opt.param_lists for p in params]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0, 4])
def test_restore_repeats_the_run(kind: str, at: int) -> None:
    """A captured optimizer and its weights, put back twice, take the very same steps each time."""
    opt = KINDS[kind](two_groups(), lr=0.1)
    opt.state[opt.param_lists[0][1]]["do_wd"] = False
    opt.state[opt.param_lists[1][0]]["force_train"] = True
    port = port_of(opt)
    train(opt, at)
    saved, before, start = port.capture(), copy.deepcopy(state(opt)), weights(opt)
    train(opt, 5, seed=1)
    after, end = copy.deepcopy(state(opt)), weights(opt)
    for _ in range(2):
        port.restore(saved)
        for p, w in zip([p for ps in opt.param_lists for p in ps], start, strict=True):
            p.data.copy_(w)
        assert_same(state(opt), before)
        train(opt, 5, seed=1)
        assert_same(state(opt), after)
        assert_same(weights(opt), end)


def test_restore_leaves_the_schedule_alone() -> None:
    opt = fo.Adam(two_groups(), lr=0.1, wd=0.3)
    port = FastaiOptimizer(opt)
    saved = port.capture()
    opt.set_hypers(lr=[0.2, 0.5], mom=0.8)
    port.restore(saved)
    assert [(h["lr"], h["mom"], h["wd"]) for h in opt.hypers] == [(0.2, 0.8, 0.3), (0.5, 0.8, 0.3)]


def test_marks_of_the_learner_survive_a_state_that_lacks_them() -> None:
    opt = fo.Adam(two_groups(), lr=0.1)
    port = FastaiOptimizer(opt)
    saved = port.capture()
    opt.state[opt.param_lists[0][1]]["do_wd"] = False
    train(opt, 2)
    port.restore(saved)
    assert dict(opt.state[opt.param_lists[0][1]]) == {"do_wd": False}


@pytest.mark.parametrize("kind", ["Adam", "ranger"])
def test_the_scale_is_in_force_within_the_step_alone(kind: str) -> None:
    opt, twin = (KINDS[kind](two_groups(), lr=0.1, wd=0.1) for _ in range(2))
    for o, lrs in ((opt, [0.2, 0.4]), (twin, [0.2 * 0.5, 0.4])):
        o.set_hyper("lr", lrs)
    port, undo = port_of(opt), []

    def take_back() -> None:
        undo.pop()()

    end = port.watch_steps(lambda: undo.append(port.multiply_lr([0.5, 1.0])), take_back)
    train(opt, 4)
    train(twin, 4)
    assert_same(weights(opt), weights(twin))
    assert port.lrs() == [0.2, 0.4]
    assert not undo
    end()
    assert "step" not in vars(opt)


def test_a_step_that_fails_is_no_step() -> None:
    opt, calls = fo.Adam(two_groups(), lr=0.1), []
    opt.cbs.append(lambda p, **kwargs: 1 / 0)
    end = FastaiOptimizer(opt).watch_steps(
        lambda: calls.append("before"), lambda: calls.append("after"), lambda: calls.append("failed")
    )
    with pytest.raises(ZeroDivisionError):
        train(opt, 1)
    assert calls == ["before", "failed"]
    end()
    end()  # twice is once
    assert "step" not in vars(opt)


def test_two_watchers_may_end_in_any_order() -> None:
    opt, calls = fo.Adam(two_groups(), lr=0.1), []
    end_first = FastaiOptimizer(opt).watch_steps(lambda: calls.append(1), lambda: None)
    end_second = FastaiOptimizer(opt).watch_steps(lambda: calls.append(2), lambda: None)
    end_first()
    train(opt, 1)
    assert calls == [2]
    end_second()
    train(opt, 1)
    assert calls == [2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_of_a_watched_optimizer_is_not_watched(copied: Any) -> None:
    opt, calls = fo.ranger(two_groups(), lr=0.1), []
    FastaiOptimizer(opt).watch_steps(lambda: calls.append(1), lambda: None)
    other, start = copied(opt), weights(opt)
    assert isinstance(other, Lookahead)
    train(other, 2)
    assert calls == []
    assert not torch.equal(weights(other)[0], start[0])
    assert_same(weights(opt), start)


def test_captured_state_can_be_kept_elsewhere() -> None:
    opt = fo.ranger(two_groups(), lr=0.1)
    train(opt, 2)
    states, (_, slow) = FastaiOptimizer(opt, torch.device("meta")).capture()
    assert {t.device.type for s in states.values() for t in s.values() if isinstance(t, Tensor)} == {"meta"}
    assert {t.device.type for ts in slow for t in ts} == {"meta"}


@pytest.mark.parametrize(
    ("opt_func", "expected"),
    [
        (partial(fo.Adam, wd=0.1), [0.1, 0.0]),
        (partial(fo.Adam, wd=0.1, decouple_wd=False), [0.0, 0.0]),  # added to the gradient, and normalised away with it
        (partial(fo.SGD, wd=0.1), [0.1, 0.0]),
        (partial(fo.SGD, wd=0.1, mom=0.9, decouple_wd=False), [0.1, 0.0]),  # added to the gradient, and subtracted as it is
        (partial(fo.RMSProp, wd=0.1, decouple_wd=False), [0.0, 0.0]),
        (partial(fo.ranger, wd=0.1), [0.1, 0.0]),
        (partial(fo.Optimizer, cbs=[]), [0.0, 0.0]),
    ],
)
def test_weight_decay_is_what_a_step_takes_off(opt_func: Any, expected: list[float]) -> None:
    opt = opt_func(two_groups(), lr=0.1)
    opt.state[opt.param_lists[1][0]]["do_wd"] = False  # as the Learner marks norms and biases
    assert FastaiOptimizer(opt).weight_decays() == expected


def test_reading_adds_nothing_to_the_state() -> None:
    opt = fo.Adam(two_groups(), lr=0.1)
    port = FastaiOptimizer(opt)
    for read in (port.weight_decays, port.params, port.lrs, port.capture):
        read()
    assert len(opt.state) == 0


def test_each_kind_gets_its_port() -> None:
    groups = two_groups()
    assert isinstance(port_of(fo.Adam(groups, lr=0.1)), FastaiOptimizer)
    wrapped = OptimWrapper(groups, torch.optim.AdamW, lr=0.1)
    port = port_of(wrapped)
    assert isinstance(port, TorchOptimizer)
    assert port.optimizer is wrapped.opt
    with pytest.raises(TypeError, match="OptimWrapper"):
        port_of(torch.optim.SGD(groups[0], lr=0.1))
