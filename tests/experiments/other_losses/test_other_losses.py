"""Other losses: every task can be trained from the same start each time, and recovered is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.other_losses.runs import all_runs, train, validate
from experiments.other_losses.tasks import ALL, TASKS, Task
from experiments.recovery import Run, recovered, summary


@pytest.mark.parametrize("task", ALL.values(), ids=lambda t: t.name)
def test_a_tasks_loss_has_a_gradient_and_its_validation_draws_nothing(task: Task) -> None:
    data = task.data()
    assert all(torch.equal(a, b) for a, b in zip(data, task.data(), strict=True))
    assert task.n_train + max(task.batch, 1) <= len(data[0])
    torch.manual_seed(0)
    net = task.net()
    before = torch.get_rng_state()
    assert validate(task, net, data) == validate(task, net, data)
    assert torch.equal(torch.get_rng_state(), before)
    index = torch.arange(task.batch or task.n_train)
    loss = task.loss(net, tuple(t[index] for t in data))
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_a_run_is_the_same_with_adaptlr_until_that_acts(tmp_path: Path) -> None:
    runs = [Run(task="directions", optimizer="adam", schedule="flat", lr=1e-3, seed=0, method=m) for m in ("plain", "adaptlr")]
    for run in runs:
        train(run, out=tmp_path)
    plain, watched = (json.loads((tmp_path / r.name / "run.json").read_text()) for r in runs)
    assert watched["decisions"] == []
    assert watched["loss"] == plain["loss"] < plain["begin"]


def row(lr: float, method: str, loss: float | None, **more: Any) -> dict[str, Any]:
    run = Run(task="density", optimizer="sgd", schedule="flat", lr=lr, seed=0, method=method)
    return {**vars(run), "begin": 1.0, "loss": loss, **more}


def test_recovered_is_the_share_of_the_way_down_to_the_best_fixed_learning_rate() -> None:
    rows = [row(0.1, "plain", -1.0), row(1.0, "plain", None), row(0.01, "plain", 2.0)]
    rows += [row(0.1, "adaptlr", -3.0, decisions=[[3, "rescale", ""]]), row(1.0, "adaptlr", 0.0), row(0.01, "adaptlr", 1.0)]
    cells = recovered(rows)
    assert {(c["lr"], c["method"]): c["recovered"] for c in cells} == {
        (0.1, "plain"): 1.0,
        (1.0, "plain"): 0.0,
        (0.01, "plain"): 0.0,
        (0.1, "adaptlr"): 1.0,
        (1.0, "adaptlr"): 0.5,
        (0.01, "adaptlr"): 0.0,
    }
    told = summary(cells)["adaptlr"]
    assert (told["mean"], told["worst"], told["healthy_runs"], told["healthy_runs_with_decision"]) == (0.5, 0.0, 1, 1)


def test_runs_have_names_of_their_own() -> None:
    runs = all_runs((0, 1), TASKS)
    assert len({r.name for r in runs}) == len(runs) == 64 * len(TASKS)
