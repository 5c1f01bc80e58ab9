"""A run that is stopped, and goes on another day from a file, does what it would have done."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from adaptlr import Action, Controller, Decision, Sampling
from adaptlr.act.optimizer import OptimizerPort, TorchOptimizer
from adaptlr.fastai.optimizer import FastaiOptimizer
from adaptlr.judge.control import Control, GroupControl, Said, Slowed, Suspicion
from adaptlr.judge.history import GroupPast, History, StagePast
from adaptlr.records import Finding, Kind, Trait
from adaptlr.state import pack, unpack
from tests.nets import batches, convnet, fit, same

STEPS, STOP = 60, 29

Made = tuple[Any, OptimizerPort, Callable[[float], None]]


def torch_adam(model: nn.Module, lr: float) -> Made:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def write(value: float) -> None:
        optimizer.param_groups[0]["lr"] = value

    return optimizer, TorchOptimizer(optimizer), write


def fastai_adam(model: nn.Module, lr: float) -> Made:
    optimizer: Any = Adam(list(model.parameters()), lr=lr)
    return optimizer, FastaiOptimizer(optimizer), lambda value: optimizer.set_hyper("lr", value)


def run(
    optimize: Callable[[nn.Module, float], Made], lrs: list[float], *, stop: int | None = None, snapshots: bool = True
) -> tuple[dict[str, Any], list[Decision], list[float]]:
    """60 steps at these learning rates; with ``stop``, through a file and a new model, optimizer and controller in the middle."""

    def fresh() -> tuple[nn.Module, Any, Callable[[float], None], Controller]:
        torch.manual_seed(0)
        model = convnet()
        optimizer, port, write = optimize(model, lrs[0])
        return model, optimizer, write, Controller(model, port, announce=lambda _: None)

    model, optimizer, write, ctl = fresh()
    decisions: list[Decision] = []
    losses: list[float] = []
    file = io.BytesIO()
    parts = [(0, STEPS)] if stop is None else [(0, stop), (stop, STEPS)]
    data = list(batches(STEPS))
    for begin, end in parts:
        if begin:
            weights, moments = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            model, optimizer, write, ctl = fresh()
            model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
            file.seek(0)
            ctl.load_state_dict(torch.load(file, weights_only=True))
        with ctl:
            for (x, y), lr in itertools.islice(zip(data, lrs, strict=True), begin, end):
                write(lr)
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ctl.step(loss)
                losses.append(loss.item())
            torch.save(ctl.state_dict(snapshots=snapshots), file)
        decisions += ctl.decisions
    return model.state_dict(), decisions, losses


LRS = {
    "healthy": [3e-3] * STEPS,
    "rescued-before": [1.0] * STEPS,
    "breaks-after": [3e-3] * 40 + [3.0] * 20,
    "raised-before": [1e-6] * STEPS,
}


@pytest.mark.parametrize("optimize", [torch_adam, fastai_adam], ids=["torch", "fastai"])
@pytest.mark.parametrize("lrs", LRS.values(), ids=LRS)
def test_it_decides_the_same_and_ends_with_the_same_bits(optimize: Callable[[nn.Module, float], Made], lrs: list[float]) -> None:
    whole, resumed = run(optimize, lrs), run(optimize, lrs, stop=STOP)
    assert resumed[1] == whole[1]
    assert same(resumed[2], whole[2])
    assert same(resumed[0], whole[0])


def test_a_break_after_the_pause_goes_back_to_before_it() -> None:
    """What is tested above is no accident: the snapshots went through the file."""
    _, decisions, _ = run(torch_adam, LRS["breaks-after"], stop=38)
    assert decisions[0].action is Action.ROLLBACK
    assert decisions[0].step >= 40
    assert decisions[0].restored_step is not None
    assert 0 < decisions[0].restored_step < 38


@pytest.mark.parametrize("lrs", [LRS["healthy"], LRS["rescued-before"], LRS["raised-before"]])
def test_without_snapshots_it_decides_the_same_as_long_as_it_need_not_go_back(lrs: list[float]) -> None:
    whole, resumed = run(torch_adam, lrs), run(torch_adam, lrs, stop=STOP, snapshots=False)
    assert resumed[1] == whole[1]
    assert same(resumed[0], whole[0])


def test_without_snapshots_a_break_goes_back_to_where_the_run_was_taken_up() -> None:
    _, decisions, losses = run(torch_adam, LRS["breaks-after"], stop=38, snapshots=False)
    assert (decisions[0].action, decisions[0].restored_step) == (Action.ROLLBACK, 38)
    assert max(losses[-5:]) < 0.5 * losses[0]


def test_a_run_may_go_on_for_longer_than_was_meant() -> None:
    """The length is that of the controller which goes on; the rest is remembered."""
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters())
    with Controller(model, optimizer, total_steps=3) as ctl:
        fit(model, optimizer, batches(3), ctl)
        state = ctl.state_dict(snapshots=False)
    for total, expected in ((9, 9), (None, 3)):
        longer = Controller(model, optimizer, total_steps=total)
        longer.load_state_dict(state)
        assert longer._history.outlook.total_steps == expected
        assert longer._history.age == 3


def test_what_was_only_watched_goes_on_to_advise() -> None:
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    with Controller(model, optimizer, act=False, announce=lambda _: None) as ctl:
        fit(model, optimizer, batches(40), ctl)
        assert ctl.suggested_lrs[0] > 1e-5
    again = Controller(model, optimizer, act=False)
    again.load_state_dict(ctl.state_dict(snapshots=False))
    assert again.suggested_lrs == ctl.suggested_lrs


class TestRefused:
    def controller(self, groups: int = 1, beside: tuple[nn.Module, ...] = ()) -> Controller:
        model = convnet()
        params = list(model.parameters())
        parts = [params] if groups == 1 else [params[:2], params[2:]]
        return Controller(model, torch.optim.SGD([{"params": p} for p in parts], lr=0.1), also=beside)

    def test_a_step_that_is_not_judged_yet(self) -> None:
        model = convnet()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Controller(model, optimizer) as ctl:
            x, y = next(batches(1))
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            with pytest.raises(RuntimeError, match=r"call step\(loss\) before state_dict"):
                ctl.state_dict()
            assert ctl.state_dict(snapshots=False)["history"]["age"] == 0  # at any time, as from a callback that comes before ours
            ctl.step(1.0)
            assert ctl.state_dict()["history"]["age"] == 1

    def test_a_closed_controller_whose_snapshots_are_gone(self) -> None:
        with self.controller() as ctl:
            pass
        with pytest.raises(RuntimeError, match="inside the `with` block"):
            ctl.state_dict()
        assert not ctl.state_dict(snapshots=False)["snapshots"]

    def test_loading_while_watching(self) -> None:
        state = self.controller().state_dict()
        with self.controller() as ctl, pytest.raises(RuntimeError, match="comes before `with`"):
            ctl.load_state_dict(state)

    def test_another_number_of_groups(self) -> None:
        with pytest.raises(ValueError, match="with 1 parameter groups, and this one has 2"):
            self.controller(groups=2).load_state_dict(self.controller().state_dict())

    @pytest.mark.parametrize(("had", "has"), [(1, 0), (0, 1)])
    def test_snapshots_with_more_or_less_beside_the_model(self, had: int, has: int) -> None:
        """Else the run ends where it is first rolled back."""
        things = (nn.Linear(2, 2),)
        with self.controller(beside=things[:had]) as ctl:
            state, small = ctl.state_dict(), ctl.state_dict(snapshots=False)
        match = f"hold {had}, and this controller was given {has} as scaler and also: give it the same"
        with pytest.raises(ValueError, match=match):
            self.controller(beside=things[:has]).load_state_dict(state)
        self.controller(beside=things[:has]).load_state_dict(small)

    @pytest.mark.parametrize("sampling", [Sampling(coordinates=512), Sampling(coordinates=4096), Sampling(seed=1)])
    def test_other_samples_of_the_weights(self, sampling: Sampling) -> None:
        """Else what was sampled then would be compared with what is now."""
        model = convnet()
        other = Controller(model, torch.optim.SGD(model.parameters(), lr=0.1), sampling=sampling)
        with pytest.raises(ValueError, match=r"of Sampling\(coordinates=2048, seed=0\).*give the same sampling and model"):
            other.load_state_dict(self.controller().state_dict())

    def test_what_is_refused_has_changed_nothing(self) -> None:
        """A loss of a batch whose step was still to come would be averaged into the first of another run."""
        state = self.controller().state_dict()
        model = convnet()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        other = Controller(model, optimizer, sampling=Sampling(seed=1))
        with pytest.raises(ValueError, match="give the same sampling"):
            other.load_state_dict({**state, "losses": [1e6]})
        with other:
            losses = fit(model, optimizer, batches(1), other)
        assert other.trace.readings[0].loss == losses[0]

    def test_another_model(self) -> None:
        model = convnet(width=4)
        other = Controller(model, torch.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(ValueError, match=r"of a model with \[\d+\] sampled weights a group; here"):
            other.load_state_dict(self.controller().state_dict())

    def test_what_is_no_state_of_ours(self) -> None:
        ctl = self.controller()
        state = ctl.state_dict()
        outer = {"model": ctl.model.state_dict(), "adaptlr": state}
        for given, says in (
            ({}, "but an empty dict: load what was saved"),
            (ctl.model.state_dict(), r"but a dict with '0\.weight', .* and \d+ more: load what"),
            ({"version": 6}, "but a dict with 'version': load what"),
            (outer, r"but a dict with 'model', 'adaptlr': did you mean state\['adaptlr'\]\?"),
            ({"one": state, "other": state}, "but a dict with 'one', 'other': load what"),
            (None, "but NoneType: load what"),
            (ctl, "but Controller: load what"),
        ):
            with pytest.raises(ValueError, match=rf"^this state is not what Controller\.state_dict\(\) gave, {says}"):
                self.controller().load_state_dict(given)  # type: ignore[arg-type]

    def test_another_version(self) -> None:
        state = {**self.controller().state_dict(), "version": 0}
        with pytest.raises(ValueError, match="version 0, and this adaptlr reads version 8"):
            self.controller().load_state_dict(state)


def test_whatever_the_judge_remembers_comes_back() -> None:
    group = GroupControl(scale=0.1, ceiling=0.01, max_lr=None)
    found = Finding(step=3, kind=Kind.TOO_HOT, groups=(0,), stages=("a",), message="seen", traits=(Trait.STALLED,))
    control = Control(
        groups=(group,),
        said=(Said(kind=Kind.TOO_HOT, times=1, step=3),),
        suspicion=Suspicion(level=1.0, loss=2.0, groups=(group,)),
        slowed=Slowed(finding=found, until=15, loss=2.0, groups=(group,)),
    )
    pasts = (GroupPast(ratios=(0.1,), index=None),)
    history = History(start=(2.3,), losses=(2.3, 2.0), groups=pasts, stages=(("a", StagePast(baseline=(0.5,))),))
    assert unpack(Control, pack(control)) == control
    assert unpack(History, pack(history)) == history


def test_a_field_of_a_newer_version_takes_its_default_and_one_of_an_older_is_left_out() -> None:
    data = pack(GroupControl(scale=0.5))
    del data["ceiling"]
    assert unpack(GroupControl, {**data, "gone": 1}) == GroupControl(scale=0.5)
