"""Memory layouts, precisions, checkpointing and odd ways to call a model: same bits, and each pass counted once."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.utils.checkpoint import checkpoint

from adaptlr import Action, Controller, Provenance
from tests import nets
from tests.nets import batches, convnet, same

Pass = Callable[[nn.Module, Tensor], Tensor]


def plainly(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def looking_twice(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():  # a teacher's answer, an evaluation, a critic's sample
        model(x.flip(0))
    return model(x)


def checkpointed(use_reentrant: bool) -> Pass:
    def run(model: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(model, x.clone().requires_grad_(), use_reentrant=use_reentrant)

    return run


def train(
    run: Pass = plainly,
    *,
    watched: bool,
    lr: float = 3e-3,
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    layout: torch.memory_format = torch.contiguous_format,
    steps: int = 12,
    norm: bool = False,
) -> tuple[Any, Controller | None]:
    torch.manual_seed(0)
    model: Any = convnet(norm=norm).to(dtype).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    controller = Controller(model, optimizer, announce=lambda _: None).__enter__() if watched else None
    losses = []
    for x, y in batches(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", autocast) if autocast else nullcontext():
            out = run(model, x.to(dtype).contiguous(memory_format=layout))
        loss = nn.functional.cross_entropy(out.float(), y)
        loss.backward()
        optimizer.step()
        if controller is not None:
            controller.step(loss)
        losses.append(loss.item())
    if controller is not None:
        controller.close()
    return (losses, model.state_dict(), optimizer.state_dict()), controller


CASES: dict[str, dict[str, Any]] = {
    "channels-last": {"layout": torch.channels_last},
    "bf16-autocast": {"autocast": torch.bfloat16},
    "fp16-autocast": {"autocast": torch.float16},
    "bf16": {"dtype": torch.bfloat16},
    "no-grad-between": {"run": looking_twice},
    "checkpoint": {"run": checkpointed(False)},
    "checkpoint-reentrant": {"run": checkpointed(True)},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_bit_identical_and_each_pass_is_counted_once(case: dict[str, Any]) -> None:
    plain, _ = train(watched=False, **case)
    watched, controller = train(watched=True, **case)
    assert same(watched, plain)
    assert controller is not None
    assert controller.decisions == []
    _, simple = train(watched=True)
    assert simple is not None
    for reading, expected in zip(controller.trace.readings, simple.trace.readings, strict=True):
        assert [(s.name, s.n) for s in reading.stages] == [(s.name, s.n) for s in expected.stages]
        assert reading.groups[0].update_ratio
        assert all(math.isfinite(s.rms) and s.nonfinite_frac == 0 for s in reading.stages)


@pytest.mark.parametrize("name", ["channels-last", "bf16-autocast", "bf16", "checkpoint"])
def test_a_ruinous_learning_rate_is_put_right(name: str) -> None:
    (losses, *_), controller = train(watched=True, lr=10.0, steps=60, **CASES[name])
    assert controller is not None
    assert controller.decisions[0].action is Action.ROLLBACK
    assert sum(losses[-5:]) / 5 < 1.5


class Spectral(nn.Module):
    """Weights that are complex numbers, as in a Fourier neural operator."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(8, 16), nn.Linear(128, 10)
        self.mix = nn.Parameter(0.1 * torch.randn(16, 16, 5, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft(self.up(x.view(-1, 8, 8)).transpose(1, 2))
        return self.head(torch.relu(torch.fft.irfft(torch.einsum("bif,iof->bof", waves, self.mix), n=8)).flatten(1))


def test_weights_that_are_complex_numbers_are_watched_by_their_real_parts() -> None:
    """And torch has no reason to warn that it throws a part away: warnings are errors here."""
    runs = []
    for controller in (None, {}):
        torch.manual_seed(0)
        runs.append(nets.train("adam", 3e-3, steps=20, model=Spectral(), controller=controller))
    ctl = runs[1].controller
    assert ctl is not None
    assert ctl.trace.readings[5].groups[0].update_ratio is not None
    assert ctl.trace.readings[0].groups[0].provenance is Provenance.RANDOM
    assert same(runs[1].state, runs[0].state)


def test_a_model_that_runs_twice_in_a_step_is_counted_twice() -> None:
    _, once = train(watched=True)
    _, twice = train(lambda model, x: model(x) + model(x.flip(3)), watched=True)
    assert once is not None
    assert twice is not None
    for a, b in zip(once.trace.readings, twice.trace.readings, strict=True):
        assert [2 * s.n for s in a.stages] == [s.n for s in b.stages]


class TestFunctional:
    """functional_call runs a module's hooks; within grad and vmap they meet wrapped tensors, which must not be kept."""

    def train(self, how: str, *, watched: bool) -> tuple[Any, Controller | None]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        x = torch.randn(16, 8)
        controller = Controller(model, optimizer).__enter__() if watched else None

        def loss_of(params: dict[str, Tensor], x: Tensor) -> Tensor:
            return (functional_call(model, params, (x,)) - x.sum(-1, keepdim=True)).square().mean()

        for _ in range(6):
            optimizer.zero_grad()
            grads: dict[str, Tensor] = {}
            params = {k: v.detach() for k, v in model.named_parameters()}
            if how == "backward":
                loss = loss_of(dict(model.named_parameters()), x)
                loss.backward()
            elif how == "grad":
                grads, loss = grad_and_value(loss_of)(params, x)
            else:
                each = vmap(grad(loss_of), (None, 0))(params, x)
                grads, loss = {k: g.mean(0) for k, g in each.items()}, loss_of(params, x).detach()
            if how != "backward":
                for k, p in model.named_parameters():
                    p.grad = grads[k]
            optimizer.step()
            if controller is not None:
                controller.step(loss)
        if controller is not None:
            controller.close()
        return model.state_dict(), controller

    @pytest.mark.parametrize(("how", "passes"), [("backward", 1), ("grad", 1), ("vmap", 2)])
    def test_it_is_watched_and_changes_no_bit(self, how: str, passes: int) -> None:
        plain, _ = self.train(how, watched=False)
        watched, controller = self.train(how, watched=True)
        assert same(watched, plain)
        assert controller is not None
        assert [[s.n for s in r.stages] for r in controller.trace.readings] == [[passes * 512, passes * 16]] * 6

    def test_parameters_that_are_no_longer_the_models_are_refused(self) -> None:
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
        copies = [p.detach().clone().requires_grad_() for p in model.parameters()]
        with pytest.raises(ValueError, match="holds 4 parameters, none of them the model's"):
            Controller(model, torch.optim.SGD(copies, lr=0.1))
