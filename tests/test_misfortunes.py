"""What is not the learning rate: batches that are not finite, a length that was wrong, two that act on the same weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from adaptlr import Action, AdaptLRWarning, Controller
from adaptlr.records import Decision, Finding
from tests.nets import batches, convnet, fit, quiet, same, stepped, with_bad


def run(bad: set[int], *, steps: int = 90) -> tuple[nn.Module, Controller, list[Finding | Decision]]:
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    said = list[Finding | Decision]()
    with Controller(model, optimizer, total_steps=steps, announce=said.append) as controller:
        fit(model, optimizer, with_bad(batches(steps), bad), controller)
    return model, controller, said


def loss_of(model: nn.Module) -> float:
    x, y = next(batches(1))
    return nn.functional.cross_entropy(model(x), y).item()


def test_one_in_every_fifteen_costs_some_steps_and_no_learning_rate() -> None:
    bad = set(range(14, 90, 15))
    model, controller, said = run(bad)
    assert [(d.step, d.action) for d in controller.decisions] == [(i, Action.ROLLBACK) for i in sorted(bad)]
    assert controller.scales == (1.0,)
    assert len([r for r in said if isinstance(r, Decision)]) == 3, "the first, the second and the fourth are said"
    assert loss_of(model) < 0.1


def test_it_gets_on_between_them() -> None:
    """Snapshots come more often: no more than eight steps are lost to one of them."""
    _, controller, _ = run(set(range(20, 200, 20)), steps=200)
    lost = [d.step - d.restored_step for d in controller.decisions[1:] if d.restored_step is not None]
    assert max(lost) <= 8


def test_ten_in_a_row_leave_the_weights_as_they_were_before() -> None:
    _, controller, said = run(set(range(80, 90)))
    assert controller.decisions[-1].action is Action.STOP
    assert "leaves the run alone" in str(said[-1])
    assert controller.scales == (1.0,)
    assert not any("learning rate of about" in str(r) for r in said)


def test_a_run_that_is_longer_than_was_said_is_one_of_unknown_length() -> None:
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
    with warnings.catch_warnings(record=True) as told, Controller(model, optimizer, total_steps=20, announce=quiet) as controller:
        warnings.simplefilter("always")
        for loss in stepped(model, optimizer, batches(60)):
            controller.step(loss)
            assert controller.scales[0] > 0
    assert [str(w.message) for w in told if w.category is AdaptLRWarning] == [
        "this is optimizer step 23 of a run of which total_steps=20 was said: is it the number of epochs times that of batches? "
        "From here on the length of the run counts as unknown"
    ]
    assert controller.decisions
    assert controller.trace.readings[-1].groups[0].update_ratio > 1e-4  # type: ignore[operator]


def test_of_two_that_act_on_the_same_weights_the_newer_one_does() -> None:
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
    older, newer = (Controller(model, optimizer, total_steps=40, announce=quiet) for _ in range(2))
    with older:
        with pytest.warns(AdaptLRWarning, match="another Controller was acting on the same weights"):
            newer.__enter__()
        for loss in stepped(model, optimizer, batches(40)):
            older.step(loss)
            newer.step(loss)
        newer.close()
    assert (len(older.trace.readings), len(newer.trace.readings)) == (0, 40)
    assert newer.decisions
    assert optimizer.param_groups[0]["lr"] == 10.0


def test_one_that_watches_beside_one_that_acts_stays() -> None:
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with Controller(model, optimizer, act=False) as watching, Controller(model, optimizer) as acting:
        for loss in stepped(model, optimizer, batches(5)):
            watching.step(loss)
            acting.step(loss)
    assert same(
        [r.groups[0].update_ratio for r in watching.trace.readings], [r.groups[0].update_ratio for r in acting.trace.readings]
    )


def loop(order: str, steps: int = 12, **options: Any) -> tuple[Controller, list[str]]:
    """``order`` of what is done with each batch: forward and backward, the optimizer's step, the controller's."""
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with warnings.catch_warnings(record=True) as told, Controller(model, optimizer, announce=quiet, **options) as controller:
        warnings.simplefilter("always")
        for x, y in batches(steps):
            loss = torch.zeros(())
            for what in order:
                if what == "f":
                    optimizer.zero_grad()
                    loss = nn.functional.cross_entropy(model(x), y)
                    loss.backward()
                elif what == "o":
                    optimizer.step()
                elif what == "v":
                    with torch.no_grad():
                        model(x)
                else:
                    controller.step(loss)
    return controller, [str(w.message) for w in told if w.category is AdaptLRWarning]


def test_a_call_before_the_optimizers_step_is_noticed() -> None:
    (said,) = loop("fco")[1]
    assert "call it after optimizer.step(), once a batch" in said


@pytest.mark.parametrize("order", ["foc", "fcfoc", "fovc", "ffoc"])
def test_calls_in_the_right_place_are_not(order: str) -> None:
    """Gradients that are accumulated, a validation pass before the call."""
    assert loop(order)[1] == []


def test_a_pass_of_another_net_s_step_before_the_call_is_not() -> None:
    """As of a game, in which the other net is trained on this one's answers."""
    assert loop("fofc")[1] == []


def test_a_controller_that_is_not_told_says_so() -> None:
    controller, (said,) = loop("fo", steps=120)
    assert "before their loss was told: call Controller.step(loss) after each" in said
    assert controller.trace.readings == []


def test_a_loss_that_is_written_to_again_while_gradients_are_accumulated_counts_as_it_was() -> None:
    torch.manual_seed(0)
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    kept, losses = torch.zeros(()), []
    with Controller(model, optimizer, announce=quiet) as controller:
        for x, y in batches(2):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            losses.append(loss.item())
            kept.copy_(loss.detach())
            if len(losses) == 2:
                optimizer.step()
            controller.step(kept)
    assert controller.trace.readings[0].loss == pytest.approx(sum(losses) / 2)
    assert losses[0] != losses[1]
