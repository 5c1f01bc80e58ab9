"""The multiplier lives inside a step, and nowhere else."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from adaptlr.act.optimizer import TorchOptimizer
from adaptlr.act.scale import StepScale
from tests.act.nets import OPTIMIZERS, Maker, batches, bits, net, train
from tests.act.noting import Noting
from tests.act.schedulers import SCHEDULERS, STEPS


def params(n: int = 2) -> list[nn.Parameter]:
    out = [nn.Parameter(torch.ones(3)) for _ in range(n)]
    for p in out:
        p.grad = torch.ones(3)
    return out


def scaled(optimizer: torch.optim.Optimizer, *scales: float, after: Callable[[], None] = lambda: None) -> StepScale:
    return StepScale(TorchOptimizer(optimizer), lambda lrs: scales, after)


class TestInsideAndOutside:
    @settings(deadline=None)  # the first optimizer of a process takes torch seconds to make
    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(1e-12, 1e6)), min_size=1, max_size=4), st.booleans())
    def test_each_group_steps_at_lr_x_scale_and_keeps_its_lr_to_the_bit(
        self, groups: list[tuple[float, float]], tensors: bool
    ) -> None:
        lrs: list[Any] = [torch.tensor(lr, dtype=torch.float64) if tensors else lr for lr, _ in groups]
        optimizer = Noting([{"params": [p], "lr": lr} for p, lr in zip(params(len(groups)), lrs, strict=True)])
        with scaled(optimizer, *(s for _, s in groups)):
            for _ in range(3):
                optimizer.step()
                assert [float(g["lr"]) for g in optimizer.param_groups] == [lr for lr, _ in groups]
        assert optimizer.inside == [[lr * s for lr, s in groups]] * 3
        assert all(g["lr"] is lr for g, lr in zip(optimizer.param_groups, lrs, strict=True))

    def test_a_tensor_is_written_to_in_place_for_the_step(self) -> None:
        """A compiled step and a captured graph go on reading that tensor."""
        lr = torch.tensor(0.5)
        optimizer = Noting(params(1), lr=lr)
        with scaled(optimizer, 0.25):
            optimizer.step()
        assert optimizer.inside == [[0.125]]
        assert optimizer.worked_with[0] is lr

    def test_one_tensor_given_to_all_groups_is_multiplied_once_for_each(self) -> None:
        a, b = params()
        optimizer = Noting([{"params": [a]}, {"params": [b]}], lr=torch.tensor(1.0))
        shared = optimizer.param_groups[0]["lr"]
        assert optimizer.param_groups[1]["lr"] is shared  # torch's doing
        with scaled(optimizer, 0.5, 0.25):
            optimizer.step()
        assert optimizer.inside == [[0.5, 0.25]]
        assert shared.item() == 1.0
        assert all(g["lr"] is shared for g in optimizer.param_groups)

    @pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
    def test_a_scale_of_1_touches_nothing(self, lr: Any) -> None:
        optimizer = Noting(params(1), lr=lr)
        version = lr._version if isinstance(lr, Tensor) else None
        with scaled(optimizer, 1.0):
            optimizer.step()
        assert optimizer.worked_with[0] is lr
        assert optimizer.param_groups[0]["lr"] is lr
        assert version is None or lr._version == version  # not even written with the same value

    def test_before_sees_the_scheduled_lrs_and_after_finds_them_back(self) -> None:
        a, b = params()
        optimizer = torch.optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.2}])
        seen: list[tuple[str, list[float]]] = []

        def before(lrs: list[float]) -> Sequence[float]:
            seen.append(("before", lrs))
            return (0.5, 3.0)

        with StepScale(
            TorchOptimizer(optimizer), before, lambda: seen.append(("after", [g["lr"] for g in optimizer.param_groups]))
        ):
            optimizer.step()
        assert seen == [("before", [0.1, 0.2]), ("after", [0.1, 0.2])]

    def test_no_step_is_scaled_before_entering_or_after_leaving(self) -> None:
        optimizer = Noting(params(1), lr=0.1)
        scale = scaled(optimizer, 0.5)
        optimizer.step()
        for _ in range(2):  # and it may be entered again
            with scale:
                optimizer.step()
            optimizer.step()
        assert optimizer.inside == [[0.1], [0.05], [0.1], [0.05], [0.1]]
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks

    def test_entering_twice_raises(self) -> None:
        optimizer = Noting(params(1), lr=0.1)
        with scaled(optimizer, 0.5) as scale:
            with pytest.raises(RuntimeError, match="applied already"):
                scale.__enter__()
            optimizer.step()
        assert optimizer.inside == [[0.05]]


class BurstError(RuntimeError):
    pass


def burst() -> float:
    raise BurstError


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
class TestAStepThatFails:
    def test_leaving_puts_the_very_same_lr_back(self, lr: Any) -> None:
        value = float(lr)
        optimizer = Noting(params(1), lr=lr)
        with pytest.raises(BurstError), scaled(optimizer, 0.5):
            optimizer.step(burst)
        assert optimizer.inside == [[value * 0.5]]
        assert optimizer.param_groups[0]["lr"] is lr
        assert float(lr) == value
        optimizer.step()
        assert optimizer.inside[-1] == [value]

    def test_a_loop_that_catches_it_does_not_compound_scales(self, lr: Any) -> None:
        value, ended = float(lr), []
        optimizer = Noting(params(1), lr=lr)
        with scaled(optimizer, 0.5, after=lambda: ended.append(True)):
            for closure in (burst, burst, None):
                try:
                    optimizer.step(closure)
                except BurstError:
                    assert not ended  # a step that failed is not reported
            assert optimizer.param_groups[0]["lr"] is lr
            assert float(lr) == value
        assert optimizer.inside == [[value * 0.5]] * 3
        assert ended == [True]

    def test_put_back_ends_it_at_once(self, lr: Any) -> None:
        value = float(lr)
        optimizer = Noting(params(1), lr=lr)
        with scaled(optimizer, 0.5) as scale:
            with pytest.raises(BurstError):
                optimizer.step(burst)
            scale.put_back()
            scale.put_back()  # idempotent
            assert float(optimizer.param_groups[0]["lr"]) == value


every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def schedule(name: str, scales: tuple[float, float] | None, *, tensor_lr: bool = False) -> tuple[list[Any], list[Any]]:
    """The learning rates and momenta that the user sees after each step, and those that the steps worked with."""
    a, b = params()
    lrs: list[Any] = [torch.tensor(x, dtype=torch.float64) if tensor_lr else x for x in (0.1, 0.2)]
    optimizer = Noting([{"params": [p], "lr": lr} for p, lr in zip((a, b), lrs, strict=True)], momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer)
    seen = []
    scale = None if scales is None else scaled(optimizer, *scales).__enter__()
    for k in range(STEPS):
        optimizer.step()
        with warnings.catch_warnings():  # SequentialLR hands its own milestone on as an epoch, and torch warns of that
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
            scheduler.step(1.0 + k) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else scheduler.step()
        seen.append([(float(g["lr"]), g["momentum"]) for g in optimizer.param_groups])
    if scale is not None:
        scale.__exit__(None, None, None)
    return seen, optimizer.inside


@every_scheduler
@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "tensor"])
def test_no_scheduler_compounds_a_scale(name: str, tensor_lr: bool) -> None:
    scales = (0.125, 3.0)
    seen, inside = schedule(name, scales, tensor_lr=tensor_lr)
    plain_seen, plain_inside = schedule(name, None, tensor_lr=tensor_lr)
    assert seen == plain_seen
    assert len({tuple(step) for step in seen}) > 1  # the schedule does change
    assert inside == [[lr * s for lr, s in zip(step, scales, strict=True)] for step in plain_inside]


RECURSIVE = ("MultiplicativeLR", "ExponentialLR", "StepLR", "CosineAnnealingLR", "ChainedScheduler", "ReduceLROnPlateau")


@pytest.mark.parametrize("name", RECURSIVE)
def test_the_check_above_catches_a_scale_that_is_left_in_the_lr(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepScale, "_step_ends", lambda self: setattr(self, "_undo", None))  # forgets to put back
    assert schedule(name, (0.125, 3.0))[0] != schedule(name, None)[0]


@pytest.mark.parametrize("kwargs", [{}, {"momentum": 0.9, "nesterov": True}, {"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "tensor"])
def test_sgd_with_a_scale_is_sgd_with_that_lr(kwargs: dict[str, Any], tensor_lr: bool) -> None:
    lr, scale = 0.1, 0.3

    def run(lr: float, scale: float | None) -> tuple[list[float], dict[str, bytes]]:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(lr) if tensor_lr else lr, weight_decay=0.1, **kwargs)
        if scale is None:
            return train(model, optimizer, batches(5)), bits(model, optimizer)
        with scaled(optimizer, scale):
            return train(model, optimizer, batches(5)), bits(model, optimizer)

    same_lr = (torch.tensor(lr) * scale).item() if tensor_lr else lr * scale
    assert run(lr, scale) == run(same_lr, None)
    assert run(lr, scale) != run(lr, None)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_scale_moves_every_optimizer_as_that_lr_would(make: Maker) -> None:
    """And leaves the same state: no moment of any of them depends on the lr of the steps before."""

    def run(watched: bool) -> tuple[list[float], dict[str, bytes]]:
        model = net()
        optimizer = make(model.parameters())
        if watched:
            with scaled(optimizer, 0.25):
                return train(model, optimizer, batches(5)), bits(model, optimizer)
        optimizer.param_groups[0]["lr"] *= 0.25
        return train(model, optimizer, batches(5)), bits(model, optimizer)

    assert run(watched=True) == run(watched=False)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_watching_at_scale_1_changes_no_bit(make: Maker) -> None:
    def run(watched: bool) -> tuple[list[float], dict[str, bytes]]:
        model = net()
        optimizer = make(model.parameters())
        if watched:
            with scaled(optimizer, 1.0):
                return train(model, optimizer, batches(5)), bits(model, optimizer)
        return train(model, optimizer, batches(5)), bits(model, optimizer)

    assert run(watched=True) == run(watched=False)


class Decaying(Noting):
    """Multiplies its own learning rate in its step, as some that decay do."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        out = super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.9
        return out


class Warming(Noting):
    """Writes its own learning rate in its step, as those that warm up by themselves do."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        out = super().step(closure)
        for group in self.param_groups:
            group["lr"] = 0.1 + 0.01 * len(self.inside)
        return out


class TestWhoElseIsThere:
    @pytest.mark.parametrize("first", [False, True], ids=["made-after", "made-before"])
    def test_a_scheduler_in_a_hook_of_the_users_sees_what_it_wrote(self, first: bool) -> None:
        def run(*scales: float) -> list[float]:
            optimizer = Noting(params(1), lr=0.5)
            scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
            scale = scaled(optimizer, *scales)
            if first:
                optimizer.register_step_post_hook(lambda *_: scheduler.step())
            with scale:
                if not first:
                    optimizer.register_step_post_hook(lambda *_: scheduler.step())
                for _ in range(5):
                    optimizer.step()
            return [optimizer.param_groups[0]["lr"], *(lr for (lr,) in optimizer.inside)]

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            plain, held = run(1.0), run(0.25)
        assert held == [plain[0], *(lr * 0.25 for lr in plain[1:])]

    @pytest.mark.parametrize("first", [False, True], ids=["made-after", "made-before"])
    def test_a_learning_rate_that_a_hook_of_the_users_writes_is_scaled_like_any(self, first: bool) -> None:
        optimizer = Noting(params(1), lr=0.5)
        to_come = iter([0.4, 0.4, 0.3, 0.3])  # torch calls hooks twice where a step calls its parent's

        def write(*_: Any) -> None:
            optimizer.param_groups[0]["lr"] = next(to_come)

        if first:
            optimizer.register_step_pre_hook(write)
        with scaled(optimizer, 0.5):
            if not first:
                optimizer.register_step_pre_hook(write)
            for _ in range(2):
                optimizer.step()
        assert optimizer.inside == [[0.2], [0.15]]
        assert optimizer.param_groups[0]["lr"] == 0.3

    def test_two_scales_on_one_optimizer_leave_its_learning_rate_as_it_was(self) -> None:
        optimizer = torch.optim.SGD(params(1), lr=0.5)
        with scaled(optimizer, 0.5), scaled(optimizer, 0.5):
            for _ in range(3):
                optimizer.step()
                assert optimizer.param_groups[0]["lr"] == 0.5

    @pytest.mark.parametrize("lr", [0.5, torch.tensor(0.5, dtype=torch.float64)], ids=["float", "tensor"])
    def test_what_an_optimizer_multiplies_its_learning_rate_by_stays(self, lr: Any) -> None:
        optimizer = Decaying(params(1), lr=lr)
        with scaled(optimizer, 0.125):
            for _ in range(3):
                optimizer.step()
        assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.5 * 0.9**3)
        assert [x for (x,) in optimizer.inside] == pytest.approx([0.125 * 0.5 * 0.9**k for k in range(3)])

    def test_what_it_writes_itself_stays(self) -> None:
        optimizer = Warming(params(1), lr=0.1)
        with scaled(optimizer, 1 / 64):
            for _ in range(3):
                optimizer.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.13)
