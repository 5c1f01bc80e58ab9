"""Parameter groups that an optimizer is given in mid-run, as gradual unfreezing does: watched from then on, like the others."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch
from torch import nn

from adaptlr import Action, Controller
from adaptlr.judge.control import Control, GroupControl, Raise, Slowed, Suspicion, widened
from adaptlr.measure.weights import WeightProbe, group_numbers
from adaptlr.records import Finding, Kind, Provenance
from tests.act.noting import Noting
from tests.loops.held import hold
from tests.nets import batches, convnet, fit, meanwhile, same, with_bad

ADDED = 12  # a snapshot of step 8 is held by then


def unfreeze(
    *, watched: bool, steps: int = 30, lr: float = 3e-3, added_lr: float = 3e-3, poison: int | None = None, **options: Any
) -> tuple[nn.Sequential, torch.optim.Optimizer, Controller | None, list[float]]:
    """The head alone at first; from step 12 on the body too, in a group of its own."""
    torch.manual_seed(0)
    model = convnet(norm=False)
    body, head = list(model[:5].parameters()), list(model[5:].parameters())
    for p in body:
        p.requires_grad_(False)
    optimizer = torch.optim.Adam(head, lr=lr)
    controller = Controller(model, optimizer, announce=lambda _: None, **options).__enter__() if watched else None

    def thaw(*_: object) -> None:
        for p in body:
            p.requires_grad_(True)
        optimizer.add_param_group({"params": body, "lr": added_lr})

    losses = fit(model, optimizer, meanwhile(with_bad(batches(steps), {poison}), ADDED, thaw), controller)
    return model, optimizer, controller, losses


def test_it_is_watched_from_then_on_and_no_bit_changes() -> None:
    plain = unfreeze(watched=False)
    model, optimizer, controller, losses = unfreeze(watched=True)
    assert controller is not None
    controller.close()
    assert same(losses, plain[3])
    assert same(model.state_dict(), plain[0].state_dict())
    assert same(optimizer.state_dict(), plain[1].state_dict())
    readings = controller.trace.readings
    assert [len(r.groups) for r in readings] == [1] * ADDED + [2] * (30 - ADDED)
    assert controller.decisions == []
    assert controller.scales == (1.0, 1.0)
    new = readings[ADDED].groups[1]
    assert new.provenance is Provenance.RANDOM
    assert new.stages == ("conv1", "conv2")
    assert all(r.groups[1].update_ratio for r in readings[ADDED:])
    assert new.travel == pytest.approx(new.update_ratio)  # measured from where it was when it came
    stages = {s.name: s.group for s in readings[ADDED].stages}
    assert (stages["conv1"], stages["fc1"]) == (1, 0)


def test_the_scale_of_the_others_is_kept_and_the_new_one_begins_at_1() -> None:
    torch.manual_seed(0)
    model = convnet(norm=False)
    optimizer = Noting(model[5:].parameters(), lr=0.1)
    with hold(Controller(model, optimizer, act=False), 0.25) as ctl:
        optimizer.add_param_group({"params": model[:5].parameters(), "lr": 0.2})
        x, y = next(batches(1))
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        ctl.step(loss)
    assert optimizer.inside == [[0.025, 0.2]]
    assert ctl.suggested_lrs == (0.025, 0.2)


def test_going_back_to_before_it_came_puts_it_back_as_it_was_when_it_came() -> None:
    """A bad batch poisons both groups: back to step 8, when only the first was there."""
    fresh = convnet_state_at_start()
    model, optimizer, controller, _ = unfreeze(watched=True, steps=16, poison=15)
    assert controller is not None
    (decision,) = controller.decisions
    assert (decision.action, decision.restored_step) == (Action.ROLLBACK, 8)
    assert decision.scales_after == (1.0, 1.0)
    body = {k: v for k, v in model.state_dict().items() if int(k.partition(".")[0]) < 5}
    assert same(body, {k: fresh[k] for k in body})
    assert len(optimizer.state) == len(list(model[5:].parameters()))  # the new group's moments are of a run that is gone
    controller.close()


def convnet_state_at_start() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return convnet(norm=False).state_dict()


def test_what_the_model_does_not_hold_goes_back_too() -> None:
    """A loss with weights of its own, made in mid-run."""
    torch.manual_seed(0)
    model = convnet(norm=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    mix = nn.Parameter(torch.full((10, 10), 0.1))
    with Controller(model, optimizer, announce=lambda _: None) as ctl:
        for i, (x, y) in enumerate(batches(16)):
            if i == 10:
                optimizer.add_param_group({"params": [mix]})
            out = model(x) if i < 10 else model(x) + model(x) @ mix
            loss = nn.functional.cross_entropy(out * (math.nan if i == 15 else 1.0), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ctl.step(loss)
    assert ctl.decisions[0].restored_step == 8
    assert torch.equal(mix, torch.full((10, 10), 0.1))


def test_a_group_that_is_too_hot_from_its_first_step_is_cut() -> None:
    model, _, controller, losses = unfreeze(watched=True, steps=60, added_lr=3.0)
    assert controller is not None
    controller.close()
    assert controller.decisions[0].action is Action.ROLLBACK
    assert controller.decisions[0].step <= ADDED + 3
    assert controller.scales[1] < 0.05
    assert sum(losses[-5:]) / 5 < 1.0
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_state_saved_after_it_came_loads_and_one_saved_before_does_not() -> None:
    _, _, controller, _ = unfreeze(watched=True)
    assert controller is not None
    file = io.BytesIO()
    torch.save(controller.state_dict(), file)
    controller.close()
    file.seek(0)
    state = torch.load(file, weights_only=True)
    model = convnet(norm=False)
    groups = [{"params": model[5:].parameters()}, {"params": model[:5].parameters()}]
    again = Controller(model, torch.optim.Adam(groups))
    again.load_state_dict(state)
    assert again.scales == (1.0, 1.0)
    with pytest.raises(ValueError, match="with 2 parameter groups, and this one has 1"):
        Controller(model, torch.optim.Adam(model.parameters())).load_state_dict(state)


class TestProbe:
    def test_the_old_groups_numbers_are_those_of_a_probe_that_was_not_extended(self) -> None:
        torch.manual_seed(0)
        a, b = nn.Parameter(torch.randn(64, 64)), nn.Parameter(torch.randn(32, 32))
        old, twin = WeightProbe([[a]], coordinates=100), WeightProbe([[a]], coordinates=100)
        rows = []
        for step in range(8):
            if step == 4:
                old = old.extended([[a], [b]], coordinates=100, seed=0)
            for probe in (old, twin):
                probe.before()
            for p in (a, b):
                p.grad = torch.randn_like(p)
                p.data -= 0.01 * p.grad
            rows.append((old.after(), twin.after()))
        for x, y in rows:  # the one that was extended is summed by torch from then on, the other in numpy
            torch.testing.assert_close(x[0], y[0], rtol=1e-5, atol=1e-6)
        assert rows[4][0].shape[0] == 2

    def test_the_new_groups_numbers_are_those_of_a_probe_that_begins_with_it(self) -> None:
        """Its direction is normalised by its own steps, not by those that were taken before it came."""
        torch.manual_seed(0)
        a, b = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8, 8))
        old = WeightProbe([[a]])
        for _ in range(20):
            old.before()
            a.grad = torch.randn_like(a)
            old.after()
        old, twin = old.extended([[a], [b]], coordinates=2048, seed=0), WeightProbe([[b]])
        for _ in range(5):
            for probe in (old, twin):
                probe.before()
            b.grad = torch.randn_like(b)
            b.data -= 0.01 * b.grad
            assert torch.allclose(old.after()[1], twin.after()[0])

    def test_a_group_of_biases_alone(self) -> None:
        a, b = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.zeros(8))
        probe = WeightProbe([[a]]).extended([[a], [b]], coordinates=2048, seed=0)
        probe.before()
        a.grad = torch.ones_like(a)
        assert [n.frozen for n in group_numbers(probe.after(), _distance(2), probe.least)] == [False, True]


def _distance(n: int) -> Any:
    from adaptlr.measure.weights import DistanceEstimate

    return DistanceEstimate(n)


def test_what_the_policy_remembers_is_widened() -> None:
    one = GroupControl(scale=0.1)
    found = Finding(step=3, kind=Kind.TOO_HOT, groups=(0,), stages=(), message="seen")
    control = Control(
        groups=(one,),
        suspicion=Suspicion(level=1.0, loss=2.0, groups=(one,)),
        raised=Raise(step=2, groups=(one,)),
        slowed=Slowed(finding=found, until=15, loss=2.0, groups=(one,)),
    )
    wide = widened(control, [0.3, 0.2])
    both = (one, GroupControl())
    assert wide.groups == both
    assert [memory and memory.groups for memory in (wide.suspicion, wide.raised, wide.slowed)] == [both] * 3
    bare = Control(groups=(one,))
    assert widened(bare, [0.3, 0.2]) == dataclasses.replace(bare, groups=(one, GroupControl()))
