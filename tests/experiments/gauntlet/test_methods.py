"""Every method trains, does what its documentation says, and leaves plain's run as it is where it has nothing to do."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from experiments.gauntlet.cells import OWN, SLICE, Cell, Column, uniform
from experiments.gauntlet.job import Job, prepare
from experiments.gauntlet.methods import METHODS, Plain
from experiments.gauntlet.methods.ablation import WITHOUT
from experiments.gauntlet.methods.auto_trainer import ATTEMPTS, Signs, symptom
from experiments.gauntlet.run import run_cell

for _package in ("prodigyopt", "dadaptation", "dog", "schedulefree"):
    pytest.importorskip(_package)


def job(name: str, lr: float = 0.1, fault: str = "none") -> Job:
    return prepare(Cell(column=Column.parse(name), plan=uniform(lr), seed=0, fault=fault), "")


def train(method: str, job: Job) -> Plain:
    runner = METHODS[method](job)
    list(runner.losses(job.batches()))
    runner.trained()
    runner.close()
    return runner


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adam"])
@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith(WITHOUT)])
@pytest.mark.filterwarnings("ignore")  # of the peers' packages
def test_every_method_learns_at_a_good_learning_rate(method: str, optimizer: str) -> None:
    column = Column.parse(f"cancer/mlp-bn/{optimizer}/one-cycle")
    plan = OWN if METHODS[method].own_lr else uniform(0.1 if optimizer == "sgd" else 0.01)
    row = run_cell(Cell(column=column, plan=plan, seed=0), method, "")
    assert row["error"] is None, row
    if method == "auto-trainer":  # sees dying units where there are none, and restarts
        return
    assert row["metric"] > row["chance"] + (0.1 if method == "dog" else 0.25)


@pytest.mark.parametrize(
    ("off", "kind", "lr"), [("non-finite", "non-finite", 1e30), ("starved", "starved group", None), ("too-cold", "too cold", 1e-6)]
)
def test_a_rule_that_is_off_says_nothing_and_is_on_again_afterwards(off: str, kind: str, lr: float | None) -> None:
    plan = SLICE if lr is None else uniform(lr)
    cell = Cell(column=Column.parse("cancer/mlp/adam/flat"), plan=plan, seed=0)

    def kinds(method: str) -> set[str]:
        findings = run_cell(cell, method, "")["findings"]
        assert findings is not None
        return {k for f in findings for k in f["kinds"]}

    assert kind in kinds("adaptlr")
    assert kind not in kinds(f"{WITHOUT}{off}")
    assert kind in kinds("adaptlr")


@pytest.mark.parametrize("method", [m for m in METHODS if m.startswith(WITHOUT)])
def test_every_rule_that_is_off_has_a_place_to_be_off(method: str) -> None:
    """A rule that was renamed would be patched under its old name: this fails then."""
    row = run_cell(Cell(column=Column.parse("cancer/mlp/adam/flat"), plan=uniform(1e-3), seed=0), method, "")
    assert row["error"] is None, row


@pytest.mark.parametrize("method", ["watch", "adaptlr"])
def test_a_healthy_run_is_plains_bit_for_bit(method: str) -> None:
    plain, watched = job("cancer/mlp/adam/flat", 1e-3), job("cancer/mlp/adam/flat", 1e-3)
    train("plain", plain)
    runner = train(method, watched)
    assert not [d for d in runner.events.decisions if d.changes]
    assert all(torch.equal(p, q) for p, q in zip(plain.model.parameters(), watched.model.parameters(), strict=True))


def test_adaptlr_says_what_it_found_and_did() -> None:
    runner = train("adaptlr", job("cancer/mlp/sgd/flat", 10.0))
    assert runner.events.findings[0].kinds[0] in ("too hot", "divergence", "non-finite")
    first = runner.events.decisions[0]
    assert first.changes
    assert first.lower
    assert runner.events.first_large_step is not None
    assert runner.events.first_large_step <= first.step


def test_a_change_of_the_data_costs_adaptlr_no_learning_rate() -> None:
    runner = train("adaptlr", job("recall/gru/adam/cosine", 0.01, "shift"))
    assert runner.events.decisions == [], "the loss shoots up, and comes back by itself within six steps"
    assert cast("Any", runner).controller.scales == (1.0,)
    assert runner.job.metric(runner.job.model) > 0.8


def test_the_schedule_and_the_late_break_reach_the_optimizer() -> None:
    one = job("cancer/mlp/sgd/one-cycle", 1e-4, fault="ramp")
    runner = METHODS["plain"](one)
    lrs = []
    for _ in runner.losses(one.batches()):
        lrs.append(runner.optimizer.param_groups[0]["lr"])
    assert lrs[0] == pytest.approx(1e-4 / 25)
    assert max(lrs[:72]) == pytest.approx(1e-4)
    assert lrs[72] > lrs[71]
    assert lrs[84] / lrs[71] > 100


def test_clipping_bounds_the_gradient() -> None:
    runner = METHODS["clip"](job("cancer/mlp/sgd/flat", 10.0))
    for loss in runner.losses(runner.job.batches()):
        norm = torch.stack([p.grad.norm() for p in runner.job.model.parameters() if p.grad is not None]).norm()
        assert not norm > 1.0001, loss
    assert runner.events.decisions[0].lower


def test_plateau_cuts_when_the_loss_stands_still() -> None:
    runner = train("plateau", job("cancer/mlp/sgd/flat", 1e-12))
    assert [d.step for d in runner.events.decisions][:1] != []
    assert runner.optimizer.param_groups[0]["lr"] < 1e-12


def test_lr_find_leaves_the_job_untouched_and_suggests_something_sane() -> None:
    one, other = job("cancer/mlp/adamw/flat"), job("cancer/mlp/adamw/flat")
    runner = METHODS["lr-find"](one)
    assert 1e-5 < runner.lrs[0] < 1.0
    assert all(torch.equal(p, q) for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_schedule_free_is_judged_at_its_average_with_statistics_of_that_average() -> None:
    runner = METHODS["schedule-free"](job("cancer/mlp-bn/adamw/flat", 0.01))
    list(runner.losses(runner.job.batches()))
    net = cast("nn.Sequential", runner.job.model)
    norm = cast("nn.BatchNorm1d", net[1])
    weight, mean = cast("nn.Linear", net[0]).weight.detach().clone(), cast("Tensor", norm.running_mean).clone()
    model = cast("nn.Sequential", runner.trained())
    assert not torch.equal(weight, cast("nn.Linear", model[0]).weight)
    assert not torch.equal(mean, cast("Tensor", norm.running_mean))
    x = runner.job.data.x
    with torch.no_grad():
        torch.testing.assert_close(norm.running_mean, model[0](x).mean(0), atol=0.15, rtol=0.3)


def test_dog_is_judged_by_its_averaged_model() -> None:
    runner = METHODS["dog"](job("cancer/mlp/sgd/flat"))
    list(runner.losses(runner.job.batches()))
    model = runner.trained()
    assert model is not runner.job.model
    assert not torch.equal(next(model.parameters()), next(runner.job.model.parameters()))


STRUGGLES = {"first_grad": 0.1, "last_grad": 0.1, "zero_frac": 0.0, "accuracies": (0.2, 0.3, 0.4)}
SATISFIED = (0.5, 0.7, 0.8)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, None),
        ({"first_grad": 9e-5, "last_grad": 0.1}, "vanishing"),
        ({"first_grad": 9e-5, "last_grad": 0.05}, None),  # not under a thousandth
        ({"first_grad": 2e-4, "last_grad": 1.0}, None),  # not under 1e-4
        ({"first_grad": 9e-5, "last_grad": 0.1, "accuracies": SATISFIED}, None),
        ({"first_grad": 7.1}, "exploding"),
        ({"first_grad": 7.1, "accuracies": SATISFIED}, None),
        ({"first_grad": float("nan"), "accuracies": ()}, "exploding"),
        ({"zero_frac": 0.7}, "dying"),
        ({"zero_frac": 0.7, "accuracies": SATISFIED}, None),
        ({"zero_frac": 0.7, "accuracies": (0.7, 0.705, 0.70)}, "dying"),  # high, but it never gained
        ({"accuracies": (0.80, 0.84, 0.80, 0.84)}, "oscillating"),
        ({"accuracies": (0.80, 0.82, 0.80, 0.82)}, None),
        ({"accuracies": (0.30, 0.305, 0.30)}, "slow"),
        ({"accuracies": (0.30, 0.32, 0.32)}, None),  # it gained, once
        ({"accuracies": (0.30, 0.305)}, None),  # too early to judge
    ],
)
def test_autotrainers_published_thresholds(change, found) -> None:
    assert symptom(Signs(**{**STRUGGLES, **change})) == found


def test_autotrainer_restarts_from_the_initial_weights_within_the_same_budget() -> None:
    one = job("cancer/mlp/sgd/flat", 100.0)
    start = {k: v.clone() for k, v in one.model.state_dict().items()}
    runner = METHODS["auto-trainer"](one)
    losses = []
    restarted = False
    for loss in runner.losses(one.batches()):
        losses.append(loss)
        if runner.events.decisions and not restarted:
            restarted = True
            assert all(torch.equal(v, start[k]) for k, v in one.model.state_dict().items())
    assert restarted
    assert len(losses) == one.steps
    assert 1 <= len(runner.events.decisions) <= ATTEMPTS
    assert runner.lrs[0] == pytest.approx(100.0 * 10.0 ** -len(runner.events.decisions))


def test_a_method_that_dies_is_a_row_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(Plain):
        closed = False

        def after_update(self, loss: torch.Tensor) -> None:
            raise ArithmeticError("on purpose")

        def close(self) -> None:
            Dies.closed = True

    monkeypatch.setitem(METHODS, "plain", Dies)
    row = run_cell(Cell(column=Column.parse("wine/mlp/sgd/flat"), plan=uniform(0.1), seed=0), "plain", "")
    assert row["error"] == "ArithmeticError: on purpose"
    assert "metric" not in row
    assert Dies.closed
