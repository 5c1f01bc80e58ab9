"""Weights that change places in mid-run: replaced by others within their group, added to a group, or under another name."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from adaptlr import Action, Controller
from adaptlr.measure.weights import WeightProbe
from tests.nets import batches, convnet, fit, meanwhile, same, with_bad

AT = 20  # a snapshot of step 16 is held by then
Change = Callable[[nn.Sequential, torch.optim.Optimizer], object]


def replace_all(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    """Every parameter gives its place, in the model, in its group and in the optimizer's state, to another of the same values."""
    for module, (name, old) in [(m, item) for m in model for item in m.named_parameters()]:
        new = nn.Parameter(old.detach().clone())
        setattr(module, name, new)
        for group in optimizer.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        if old in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)


def extend(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    for p in model[:5].parameters():
        p.requires_grad_(True)
    optimizer.param_groups[0]["params"].extend(model[:5].parameters())


class Wrapped(nn.Module):
    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        return out


def wrap(model: nn.Sequential, _: torch.optim.Optimizer) -> None:
    model[2] = Wrapped(model[2])


def pruned(model: nn.Sequential, _: torch.optim.Optimizer) -> None:
    prune.l1_unstructured(model[2], "weight", 0.3)


def run(
    change: Change, *, watched: bool = True, head_first: bool = False, poison: int | None = None, steps: int = 60
) -> tuple[nn.Sequential, torch.optim.Optimizer, Controller | None, list[float]]:
    torch.manual_seed(0)
    model = convnet(norm=False)
    if head_first:
        model[:5].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    controller = Controller(model, optimizer, total_steps=steps, announce=lambda _: None).__enter__() if watched else None
    data = meanwhile(with_bad(batches(steps), {poison}), AT, lambda *_: change(model, optimizer))
    losses = fit(model, optimizer, data, controller)
    if controller is not None:
        controller.close()
    return model, optimizer, controller, losses


@pytest.mark.parametrize(("change", "head_first"), [(replace_all, False), (extend, True)], ids=["replaced", "extended"])
class TestOtherParameters:
    def test_they_are_watched_from_then_on_and_no_bit_changes(self, change: Change, head_first: bool) -> None:
        plain = run(change, watched=False, head_first=head_first)
        model, optimizer, controller, losses = run(change, head_first=head_first)
        assert controller is not None
        assert controller.decisions == controller.findings == []
        assert same(losses, plain[3])
        assert same(model.state_dict(), plain[0].state_dict())
        assert same(optimizer.state_dict(), plain[1].state_dict())
        groups = [r.groups[0] for r in controller.trace.readings]
        assert all(g.update_ratio for g in groups)
        assert groups[AT].travel == pytest.approx(groups[AT].update_ratio)  # measured from where they were when they came
        assert groups[AT].stages == ("conv1", "conv2", "fc1", "head")
        assert [s.group for s in controller.trace.readings[AT].stages] == [0] * 4

    @pytest.mark.parametrize("after", [0, 1, 4])
    def test_a_bad_batch_after_that_is_taken_back_once(self, change: Change, head_first: bool, after: int) -> None:
        model, optimizer, controller, losses = run(change, head_first=head_first, poison=AT + after)
        assert controller is not None
        assert [d.action for d in controller.decisions] == [Action.ROLLBACK]
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert losses[-1] < 1.5
        held = {p for group in optimizer.param_groups for p in group["params"]}
        assert set(optimizer.state) == held
        assert len(optimizer.state_dict()["state"]) == len(held)


@pytest.mark.parametrize("change", [wrap, pruned])
def test_what_has_another_name_by_now_goes_back_too(change: Change) -> None:
    model, _, controller, losses = run(change, poison=AT + 4)
    assert controller is not None
    assert [d.action for d in controller.decisions] == [Action.ROLLBACK]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert losses[-1] < 1.5


def test_going_back_to_before_a_replacement_of_another_size_puts_it_back_as_it_came() -> None:
    came: list[Tensor] = []

    def widen(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
        old = [*model[5].parameters(), model[7].weight]
        torch.manual_seed(5)
        model[5], model[7].weight = nn.Linear(256, 48), nn.Parameter(torch.randn(10, 48) * 0.1)  # type: ignore[assignment]
        new = [*model[5].parameters(), model[7].weight]
        kept = [p for p in optimizer.param_groups[0]["params"] if not any(p is o for o in old)]
        optimizer.param_groups[0]["params"] = [*kept, *new]
        for p in old:
            optimizer.state.pop(p)  # type: ignore[call-overload]
        came.extend(p.detach().clone() for p in new)  # type: ignore[union-attr]

    model, _, controller, _ = run(widen, poison=AT + 1, steps=AT + 2)
    assert controller is not None
    assert [d.action for d in controller.decisions] == [Action.ROLLBACK]
    assert all(torch.equal(p, then) for p, then in zip([*model[5].parameters(), model[7].weight], came, strict=True))  # type: ignore[arg-type]


class TestProbe:
    def test_groups_that_are_as_they_were_go_on(self) -> None:
        """The second group is given another weight: the first one's numbers are those of a probe that knows nothing of it."""
        torch.manual_seed(0)
        a, b, c = (nn.Parameter(torch.randn(32, 32)) for _ in range(3))
        probe, twin = WeightProbe([[a], [b]], coordinates=100), WeightProbe([[a], [b]], coordinates=100)
        for step in range(8):
            if step == 4:
                probe = probe.extended([[a], [c]], coordinates=100, seed=0)
            for each in (probe, twin):
                each.before()
            for p in (a, b, c):
                p.grad = torch.randn_like(p)
                p.data -= 0.01 * p.grad
            new, old = probe.after(), twin.after()
            torch.testing.assert_close(new[0], old[0], rtol=1e-5, atol=1e-6)
            assert torch.equal(new[1], old[1]) is (step < 4)

    def test_sums_of_before_are_carried_over_for_those_groups_alone(self) -> None:
        torch.manual_seed(0)
        a, b, c = (nn.Parameter(torch.randn(8, 8)) for _ in range(3))
        probe = WeightProbe([[a], [b]])
        for _ in range(3):
            probe.before()
            a.grad, b.grad = torch.randn_like(a), torch.randn_like(b)
            probe.after()
        state = probe.state_dict()
        more = probe.extended([[a], [c]], coordinates=2048, seed=0)
        got = more.carried(state, probe)
        assert torch.equal(got["m"][:64], state["m"][:64])
        assert not got["m"][64:].any()
        assert torch.equal(got["start"][64:].sort().values, c.detach().flatten().sort().values)
        assert got["steps"].tolist() == [3.0] * 64 + [0.0] * 64
        assert got["drift"].tolist() == [state["drift"][0].item(), 0.0]

    def test_a_group_whose_coordinates_are_others_begins_anew(self) -> None:
        a, b, c = (nn.Parameter(torch.randn(8, 8)) for _ in range(3))
        probe = WeightProbe([[a], [b]], coordinates=16)
        assert probe.is_of([[a], [b]])
        for groups, goes_on in (
            ([[a], [b], [c]], (True, True, False)),
            ([[a], [c]], (True, False)),
            ([[c], [b]], (False, True)),
            ([[a, c], [b]], (False, False)),
            ([[], [b]], (False, False)),
        ):
            assert not probe.is_of(groups)
            assert probe.extended(groups, coordinates=16, seed=0).goes_on_from(probe) == goes_on


def test_a_group_may_be_given_other_weights_again_and_again() -> None:
    """As when one block is trained at a time."""
    torch.manual_seed(0)
    model = convnet(norm=False)
    blocks = itertools.cycle([list(model[i].parameters()) for i in (0, 2, 5, 7)])
    optimizer = torch.optim.Adam(next(blocks), lr=3e-3)
    with Controller(model, optimizer, announce=lambda _: None) as ctl:
        for i, (x, y) in enumerate(batches(40)):
            if i and i % 4 == 0:
                optimizer.param_groups[0]["params"] = next(blocks)
                optimizer.state.clear()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            ctl.step(loss)
    assert ctl.decisions == []
    assert all(r.groups[0].update_ratio for r in ctl.trace.readings)
