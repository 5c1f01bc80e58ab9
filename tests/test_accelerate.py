"""What Accelerate's ``prepare`` hands back is watched as what went in; its wrapper leaves steps out, and so do we."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import nn

from adaptlr import Controller
from adaptlr.act.optimizer import TorchOptimizer
from tests.contract.case import BATCHES, Case, loader, model


@pytest.fixture
def two_at_a_time() -> Any:
    """Accelerate keeps its settings for the whole process."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    yield Accelerator(cpu=True, gradient_accumulation_steps=2)
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def test_a_left_out_step_makes_no_reading_and_its_loss_counts(two_at_a_time: Any) -> None:
    net = model().train()
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    prepared, optimizer = two_at_a_time.prepare(net, adam)
    losses = []
    with Controller(prepared, optimizer, scaler=two_at_a_time.scaler) as ctl:
        assert len(adam._optimizer_step_pre_hooks) == 1
        for x, y in loader(Case()):
            with two_at_a_time.accumulate(prepared):
                loss = nn.functional.cross_entropy(prepared(x), y)
                two_at_a_time.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            ctl.step(loss)
            losses.append(loss.item())
    assert not adam._optimizer_step_pre_hooks
    assert len(ctl.trace.readings) == BATCHES // 2
    assert [r.loss for r in ctl.trace.readings] == pytest.approx(
        [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)]
    )


def test_an_optimizer_with_hooks_of_its_own_is_taken_as_it_is() -> None:
    class Slow(torch.optim.SGD):
        """Holds another optimizer and steps by itself, as Lookahead does."""

        def __init__(self, params: Any, inner: torch.optim.Optimizer) -> None:
            super().__init__(params, lr=0.1)
            self.optimizer = inner

    weights = [nn.Parameter(torch.ones(2, 2))]
    slow = Slow(weights, torch.optim.Adam(weights))
    assert TorchOptimizer(slow).optimizer is slow
