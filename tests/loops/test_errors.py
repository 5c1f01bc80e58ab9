"""A step that raises, in a loop that catches it: the learning rate is the user's again before anyone can look."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from adaptlr import Controller
from tests.loops.held import hold
from tests.nets import batches, convnet


def closure_that_fails() -> float:
    raise MemoryError("in the closure")


def make(lr: Any = 0.1) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = convnet()
    return model, torch.optim.Adam(model.parameters(), lr=lr)


def backward(model: nn.Module) -> torch.Tensor:
    x, y = next(batches(1))
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    return loss


def a_scheduler(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
@pytest.mark.parametrize("how", ["closure", "arithmetic"])
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # torch 2.11, though they are told to be
def test_it_is_back_at_once_and_the_loop_goes_on(how: str, lr: Any, place: str) -> None:
    model, optimizer = make(lr)
    value = float(lr)
    if place == "before":  # a scheduler wraps the same method
        a_scheduler(optimizer)
    with hold(Controller(model, optimizer, announce=lambda _: None, act=False), 0.5) as ctl:
        scheduler = a_scheduler(optimizer) if place == "after" else None
        backward(model)
        written = optimizer.param_groups[0]["lr"]
        weight: Any = model[0].weight
        grad = weight.grad
        if how == "arithmetic":
            weight.grad = torch.sparse_coo_tensor(
                torch.zeros(4, 1, dtype=torch.long), torch.ones(1), weight.shape, check_invariants=False
            )
        with pytest.raises(MemoryError if how == "closure" else RuntimeError):
            optimizer.step(closure_that_fails if how == "closure" else None)
        assert optimizer.param_groups[0]["lr"] is written
        assert float(lr) == value
        weight.grad = grad
        optimizer.step()
        ctl.step(1.0)
        if scheduler is not None:
            scheduler.step()
    assert [g.effective_lr for g in ctl.trace.readings[0].groups] == [value * 0.5]  # one step, the one that ended
    assert float(optimizer.param_groups[0]["lr"]) == value
    optimizer.step()
    assert len(ctl.trace.readings) == 1


def test_nothing_stays_on_the_optimizer() -> None:
    model, optimizer = make()
    with Controller(model, optimizer):
        assert "step" in vars(optimizer)
        copied = copy.deepcopy(optimizer)
        pickled = pickle.loads(pickle.dumps(optimizer))
        assert "step" not in vars(copied)
        assert "step" not in vars(pickled)
    assert "step" not in vars(optimizer)
    a_scheduler(optimizer)
    of_scheduler = vars(optimizer)["step"]
    with Controller(model, optimizer):
        assert vars(optimizer)["step"] is not of_scheduler
    assert vars(optimizer)["step"] is of_scheduler


def test_two_controllers_on_one_optimizer_end_in_any_order() -> None:
    model, optimizer = make()
    first, second = (Controller(model, optimizer, act=False).__enter__() for _ in range(2))
    first.close()
    backward(model)
    optimizer.step()
    second.step(1.0)
    second.close()
    assert len(second.trace.readings) == 1
    optimizer.step()
    assert not optimizer._optimizer_step_pre_hooks


def test_a_scheduler_does_not_think_that_its_step_was_overridden() -> None:
    """torch warns if the mark that it left on ``optimizer.step`` is gone; warnings are errors here."""
    model, optimizer = make()
    scheduler = a_scheduler(optimizer)
    with Controller(model, optimizer) as ctl:
        loss = backward(model)
        optimizer.step()
        ctl.step(loss)
        scheduler.step()


@pytest.mark.parametrize("watch_first", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own
def test_a_compiled_step_is_watched_too(watch_first: bool) -> None:
    model, optimizer = make(torch.tensor(0.1))

    graphs = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    def compiled() -> Callable[[], Any]:
        return torch.compile(optimizer.step, backend=backend)

    step = None if watch_first else compiled()
    start, moved = parameters_to_vector(model.parameters()).detach().clone(), 0.0
    with hold(Controller(model, optimizer, act=False), 0.5) as ctl:
        step = step or compiled()
        for i in range(2):
            optimizer.zero_grad()
            loss = backward(model)
            step()
            if not i:
                moved = (parameters_to_vector(model.parameters()) - start).abs().max().item()
            ctl.step(loss)
    assert len(graphs) == 1  # Adam's: nothing of ours is compiled
    assert moved == pytest.approx(0.05, rel=1e-3)  # as far as Adam's first step goes at half of the learning rate
    assert [r.groups[0].scale for r in ctl.trace.readings] == [0.5, 0.5]
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_gradients_are_read_before_a_hook_of_the_users_takes_them_away() -> None:
    model, optimizer = make(1e-6)
    optimizer.register_step_post_hook(lambda *_: optimizer.zero_grad())
    with Controller(model, optimizer, act=False) as ctl:
        for _ in range(3):
            loss = backward(model)
            optimizer.step()
            ctl.step(loss)
    assert all(r.groups[0].grad_rms for r in ctl.trace.readings)
    assert not any(r.groups[0].frozen for r in ctl.trace.readings)
