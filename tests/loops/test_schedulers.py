"""Whatever scheduler a loop uses, it sees the learning rates that it has without adaptlr, while scales are held."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from adaptlr import Controller
from tests.act.noting import Noting
from tests.act.schedulers import SCHEDULERS, STEPS
from tests.loops.held import hold

SCALES = (0.125, 3.0)
PEAKS = {"CyclicLR": (0.01, 0.01), "OneCycleLR": (0.1, 0.2), "ReduceLROnPlateau": None}


def run(name: str, *, tensor_lr: bool, watched: bool) -> tuple[list[list[float]], list[list[float]]]:
    """The learning rates that the user reads after each step of the scheduler, and those that the optimizer's steps worked with."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    lrs: list[Any] = [torch.tensor(x, dtype=torch.float64) if tensor_lr else x for x in (0.1, 0.2)]
    optimizer = Noting(
        [{"params": layer.parameters(), "lr": lr} for layer, lr in zip((model[0], model[2]), lrs, strict=True)], momentum=0.9
    )
    scheduler = SCHEDULERS[name](optimizer)
    controller = hold(Controller(model, optimizer, act=False, announce=lambda _: None), *SCALES) if watched else None
    seen, x = [], torch.randn(16, 4)
    if controller is not None:
        controller.__enter__()
    for k in range(STEPS):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if controller is not None:
            controller.step(loss)
        with warnings.catch_warnings():  # SequentialLR hands its own milestone on as an epoch, and torch warns of that
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
            scheduler.step(1.0 + k) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else scheduler.step()
        seen.append([float(g["lr"]) for g in optimizer.param_groups])
    if controller is not None:
        controller.close()
    return seen, optimizer.inside


@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "tensor"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_it_writes_the_sequence_that_it_writes_without_adaptlr(name: str, tensor_lr: bool) -> None:
    seen, inside = run(name, tensor_lr=tensor_lr, watched=True)
    plain, plain_inside = run(name, tensor_lr=tensor_lr, watched=False)
    assert seen == plain
    assert len({tuple(lrs) for lrs in seen}) > 1  # the schedule does change
    assert inside == [[lr * scale for lr, scale in zip(step, SCALES, strict=True)] for step in plain_inside]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_its_peaks_are_known_to_a_plain_loop(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(
        [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(model[::2], (0.1, 0.2), strict=True)]
    )
    ctl = Controller(model, optimizer)
    SCHEDULERS[name](optimizer)
    with ctl:
        assert ctl._history.outlook.peak_lrs == PEAKS.get(name, (0.1, 0.2))


def test_peaks_that_are_given_count() -> None:
    model = nn.Linear(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    with Controller(model, optimizer, peak_lrs=[0.05]) as ctl:
        assert ctl._history.outlook.peak_lrs == (0.05,)


def _kinds(base: type) -> Iterator[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def test_every_scheduler_of_torch_is_here() -> None:
    """A scheduler that a new torch brings fails this until it is added to tests/act/schedulers.py."""
    of_torch = {k.__name__ for k in _kinds(lr_scheduler.LRScheduler) if k.__module__.partition(".")[0] == "torch"}
    assert of_torch - {"_LRScheduler"} == set(SCHEDULERS)
