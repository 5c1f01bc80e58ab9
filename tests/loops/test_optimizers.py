"""Loops whose optimizers are several, take closures, skip steps, or compute in a kernel of their own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptlr import Action, AdaptLRWarning, Controller, Kind
from adaptlr.act.optimizer import TorchOptimizer
from tests.loops.half import InHalf
from tests.nets import backward, batches, convnet, digits, fit, quiet, same

KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    f"{name}-{how}": partial(kind, **{how: True})
    for name, kind in (("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW))
    for how in ("foreach", "fused", "capturable")
    if (name, how) != ("SGD", "capturable")  # there is no such thing
}


def train(make: Callable[..., torch.optim.Optimizer], lr: Any, *, watched: bool, steps: int = 20) -> tuple[Any, Controller | None]:
    torch.manual_seed(0)
    model = convnet()
    optimizer = make(model.parameters(), lr=lr)
    controller = Controller(model, optimizer, announce=quiet).__enter__() if watched else None
    losses = []
    for x, y in batches(steps):
        optimizer.zero_grad()
        loss = backward(model, x, y)
        optimizer.step()
        if controller is not None:
            controller.step(loss)
        losses.append(loss.item())
    if controller is not None:
        controller.close()
    return (losses, model.state_dict(), optimizer.state_dict()), controller


@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "tensor"])
@pytest.mark.parametrize("name", KINDS)
def test_kernels(name: str, tensor_lr: bool) -> None:
    """Bit-identical while nothing is wrong, and put right where the learning rate is."""

    def lr(value: float) -> Any:
        return torch.tensor(value) if tensor_lr else value

    good = 3e-2 if name.startswith("SGD") else 3e-3
    try:
        plain, _ = train(KINDS[name], lr(good), watched=False)
    except (AssertionError, RuntimeError, ValueError) as error:
        pytest.skip(f"torch cannot do this on the CPU: {error}")
    watched, controller = train(KINDS[name], lr(good), watched=True)
    assert controller is not None
    assert controller.decisions == []
    assert same(watched, plain)
    ruined = lr(10.0)
    _, controller = train(KINDS[name], ruined, watched=True)
    assert controller is not None
    assert controller.decisions[0].action is Action.ROLLBACK
    assert controller.scales[0] < 0.1
    assert float(ruined) == 10.0


# ---------------------------------------------------------------------- two optimizers, two controllers


def gan(*, watched: bool, lr_d: float = 2e-4, steps: int = 40) -> tuple[Any, tuple[Controller, ...], list[int]]:
    torch.manual_seed(0)
    g = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    d = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    opt_g, opt_d = torch.optim.Adam(g.parameters(), lr=2e-4), torch.optim.Adam(d.parameters(), lr=lr_d)
    ctls = tuple(Controller(m, o, announce=quiet).__enter__() for m, o in ((g, opt_g), (d, opt_d))) if watched else ()
    images, order = digits()[0].flatten(1), torch.Generator().manual_seed(0)
    bce = nn.functional.binary_cross_entropy_with_logits
    one, zero = torch.ones(32, 1), torch.zeros(32, 1)
    for _ in range(steps):
        real, noise = images[torch.randint(0, len(images), (32,), generator=order)], torch.randn(32, 8, generator=order)
        opt_d.zero_grad()
        fake = g(noise)  # a training pass of the generator, for the discriminator's loss
        loss_d = bce(d(real), one) + bce(d(fake.detach()), zero)
        loss_d.backward()
        opt_d.step()
        if ctls:
            ctls[1].step(loss_d)
        opt_g.zero_grad()
        loss_g = bce(d(g(noise)), one)
        loss_g.backward()
        opt_g.step()
        if ctls:
            ctls[0].step(loss_g)
    for ctl in ctls:
        ctl.close()
    return (g.state_dict(), d.state_dict(), opt_g.state_dict(), opt_d.state_dict()), ctls, [32 * 64]


def test_a_gan_is_bit_identical_with_a_controller_on_each() -> None:
    plain, _, _ = gan(watched=False)
    watched, (ctl_g, ctl_d), (pass_size,) = gan(watched=True)
    assert same(watched, plain)
    for ctl in (ctl_g, ctl_d):
        assert ctl.decisions == []
        assert [r.step for r in ctl.trace.readings] == list(range(40))
        assert all(r.groups[0].update_ratio for r in ctl.trace.readings)
    # The generator ran twice for each of its steps: both passes are in the count, and in no step's but its own.
    assert {r.stages[0].n for r in ctl_g.trace.readings if r.step < 16} == {2 * pass_size}


def test_a_discriminator_that_is_too_hot_goes_back_alone() -> None:
    _, (ctl_g, ctl_d), _ = gan(watched=True, lr_d=10.0)
    assert ctl_d.decisions[0].action is Action.ROLLBACK
    assert ctl_d.scales[0] < 0.05
    assert ctl_g.scales == (1.0,)


# ---------------------------------------------------------------------- closures


def lbfgs(lr: float, *, watched: bool, steps: int = 8) -> tuple[Any, Controller | None, list[float]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=lr, max_iter=4)
    controller = Controller(model, optimizer, announce=quiet).__enter__() if watched else None
    x, y = next(batches(1, size=256))
    losses, moved = [], []
    for _ in range(steps):

        def closure() -> Tensor:
            optimizer.zero_grad()
            return backward(model, x, y)

        before = torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim > 1])
        loss: Any = optimizer.step(closure)
        after = torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim > 1])
        moved.append(((after - before).norm() / before.norm()).item())
        if controller is not None:
            controller.step(loss)
        losses.append(loss.item())
    if controller is not None:
        controller.close()
    return (losses, model.state_dict()), controller, moved


def test_lbfgs_is_one_step_however_often_the_closure_runs() -> None:
    plain, _, _ = lbfgs(0.5, watched=False)
    watched, controller, moved = lbfgs(0.5, watched=True)
    assert controller is not None
    assert same(watched, plain)
    assert [r.groups[0].update_ratio for r in controller.trace.readings] == pytest.approx(moved, rel=0.1)  # a sample of them
    assert [r.loss for r in controller.trace.readings] == pytest.approx(watched[0])
    assert controller.trace.readings[1].stages[0].n > 8192  # several evaluations


def test_lbfgs_with_a_ruinous_lr_goes_back() -> None:
    _, controller, _ = lbfgs(1e4, watched=True)
    assert controller is not None
    assert controller.decisions[0].action is Action.ROLLBACK
    assert controller.scales[0] < 0.1


def test_where_a_line_is_searched_the_learning_rate_is_not_to_blame() -> None:
    """Small batches make large steps, and a loss that leaps, at any learning rate."""

    def run(*, watched: bool) -> tuple[dict[str, Tensor], Controller | None]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=10, line_search_fn="strong_wolfe")
        controller = Controller(model, optimizer, announce=quiet).__enter__() if watched else None
        for x, y in batches(10, size=32):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                return backward(model, x, y)

            loss: Any = optimizer.step(closure)
            if controller is not None:
                controller.step(loss)
        return model.state_dict(), controller

    weights, controller = run(watched=True)
    assert controller is not None
    controller.close()
    assert [d.action for d in controller.decisions] == [Action.HOLD]
    assert "along a line, whatever the learning rate is" in controller.decisions[0].message
    assert same(weights, run(watched=False)[0])


# ---------------------------------------------------------------------- steps that are not made


@pytest.mark.parametrize("fused", [False, True])  # a fused step is called, and changes nothing; others are not called
def test_steps_that_a_scaler_skips_are_no_steps_and_their_loss_is_no_finding(fused: bool) -> None:
    def run(watched: bool) -> tuple[Any, Controller | None]:
        torch.manual_seed(0)
        model = convnet(norm=False)  # a norm's statistics would keep the batch that is thrown away
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        controller = Controller(model, optimizer, scaler=scaler, announce=quiet).__enter__() if watched else None
        for i, (x, y) in enumerate(batches(30)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x * (math.inf if i in (5, 6, 20) else 1.0)), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if controller is not None:
                controller.step(loss)
        if controller is not None:
            controller.close()
        return (model.state_dict(), optimizer.state_dict(), scaler.state_dict()), controller

    plain, _ = run(watched=False)
    watched, controller = run(watched=True)
    assert controller is not None
    assert same(watched, plain)
    assert watched[2]["scale"] == 128.0
    assert len(controller.trace.readings) == 27
    assert all(math.isfinite(r.loss) for r in controller.trace.readings)
    assert (controller.findings, controller.decisions) == ([], [])


@pytest.mark.parametrize("fused", [False, True])
def test_a_run_whose_every_step_is_skipped_is_lost_and_is_put_right(fused: bool) -> None:
    """One step has ruined the weights. The scaler takes that for an overflow, and would skip steps for ever."""
    run = InHalf(1e3, fused=fused)
    ctl = run.train(80)
    first = ctl.decisions[0]
    assert (first.action, first.step, first.restored_step) == (Action.ROLLBACK, 1, 0)
    assert [math.isnan(loss) for loss in run.losses[:6]] == [False, True, True, True, False, False]
    assert run.losses[-1] < 0.5
    assert run.scaler.get_scale() == 1024.0  # it went back with the run
    assert len({r.step for r in ctl.trace.readings}) == len(ctl.trace.readings)


@pytest.mark.parametrize("spoilt", [True, False])
def test_a_scaler_that_was_not_given_and_skips_every_step_is_asked_for_once(spoilt: bool) -> None:
    model = convnet(norm=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with warnings.catch_warnings(record=True) as caught, Controller(model, optimizer, announce=quiet) as ctl:
        warnings.simplefilter("always", AdaptLRWarning)
        for i, (x, y) in enumerate(batches(250)):
            optimizer.zero_grad()
            loss = backward(model, x * (math.nan if spoilt and i > 2 else 1.0), y)
            if i < 2:  # and all others are skipped, or accumulated
                optimizer.step()
            ctl.step(loss)
    said = [str(w.message) for w in caught if w.category is AdaptLRWarning]
    assert len(said) == spoilt
    assert all("Controller(..., scaler=scaler)" in text for text in said)


@pytest.mark.parametrize("fused", [False, True])
def test_a_lost_run_that_is_only_watched_is_said_once(fused: bool) -> None:
    ctl = InHalf(1e3, fused=fused, act=False).train(40)
    assert [f.kind for f in ctl.findings] == [Kind.NON_FINITE]
    assert len(ctl.trace.readings) == 2


@pytest.mark.parametrize(("lost", "found"), [(range(10, 12), []), (range(10, 13), [Kind.NON_FINITE])])
def test_three_batches_in_a_row_are_no_overflow(lost: range, found: list[Kind]) -> None:
    run = InHalf(3e-3, fused=False)
    ctl = run.train(40, spoilt=lost)
    assert [f.kind for f in ctl.findings] == found
    assert ctl.scales == (1.0,)  # nothing led up to it: the batches were bad, not the learning rate
    assert math.isfinite(run.losses[-1])


def test_accumulated_batches_are_no_skipped_steps() -> None:
    run = InHalf(3e-3, fused=False, micro_batches=5)
    ctl = run.train(60)
    assert (ctl.findings, [r.step for r in ctl.trace.readings]) == ([], list(range(12)))


def test_a_nan_within_accumulated_gradients_is_found_all_the_same() -> None:
    torch.manual_seed(0)
    model = convnet(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Controller(model, optimizer, announce=quiet) as ctl:
        for i, (x, y) in enumerate(batches(24)):
            loss = backward(model, x * (math.nan if i == 20 else 1.0), y)
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()
            ctl.step(loss)
    assert [f.kind for f in ctl.findings] == [Kind.NON_FINITE]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_optimizer_that_never_steps_is_said_once() -> None:
    """torch.func's way: new weights in a dict, and none that an optimizer has changed."""
    from torch.func import functional_call, grad_and_value

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    params = {k: v.detach() for k, v in model.named_parameters()}
    x = torch.randn(4, 4)
    with (
        warnings.catch_warnings(record=True) as caught,
        Controller(model, torch.optim.SGD(model.parameters(), lr=0.1)) as ctl,
    ):
        warnings.simplefilter("always", AdaptLRWarning)
        for _ in range(120):
            grads, loss = grad_and_value(lambda p: functional_call(model, p, (x,)).square().mean())(params)
            params = {k: p - 0.1 * grads[k] for k, p in params.items()}
            ctl.step(loss)
    (said,) = [str(w.message) for w in caught if w.category is AdaptLRWarning]
    assert "no step of its optimizer in 100 calls" in said
    assert ctl.trace.readings == []


def test_ports_of_two_optimizers_of_one_model_keep_to_their_own() -> None:
    """One controller each, on one model: each scales and reads the groups of its own optimizer alone."""
    torch.manual_seed(0)
    model = convnet()
    opts = [torch.optim.SGD(part.parameters(), lr=0.05) for part in (model[:6], model[6:])]
    with Controller(model, opts[0], act=False) as a, Controller(model, opts[1], act=False) as b:
        for x, y in batches(4):
            for o in opts:
                o.zero_grad()
            loss = backward(model, x, y)
            for o, ctl in zip(opts, (a, b), strict=True):
                o.step()
                ctl.step(loss)
    own = [set(ctl.trace.readings[0].groups[0].stages) for ctl in (a, b)]
    assert not own[0] & own[1]
    assert [len(ctl.trace.readings) for ctl in (a, b)] == [4, 4]
    assert TorchOptimizer(opts[0]).lrs() == [0.05]


@pytest.mark.parametrize("trains", [True, False], ids=["another-trains-it", "gradients-add-up"])
def test_an_optimizer_that_takes_over_is_asked_about(trains: bool) -> None:
    torch.manual_seed(0)
    model = convnet()
    first, second = (torch.optim.SGD(model.parameters(), lr=0.01) for _ in range(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Controller(model, first, announce=quiet) as ctl:
            fit(model, first, batches(2), ctl)
            for x, y in batches(101, size=4):
                loss = backward(model, x, y)
                if trains:
                    second.step()
                ctl.step(loss)
    said = [str(w.message) for w in caught]
    assert bool(said) == trains
    assert not trains or said[0].startswith("the weights have changed, and no step of the optimizer was seen in 100 calls")
