"""Wrong learning rates under other schedules and optimizers: what is run, and how it is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.everyday import runs as everyday
from experiments.everyday.runs import NETS, train
from experiments.everyday.wrong import OTHER_OPTIMIZERS, publish, summary, table, wrong_runs


def test_each_net_and_schedule_has_both_factors() -> None:
    runs = wrong_runs([0], NETS)
    assert len({r.name for r in runs}) == len(runs) == 210
    assert {round(r.lr, 9) for r in runs if r.optimizer == "adam" and r.task == "mlp, warm restarts"} == {1e-3, 1e-1, 1e-6}
    lion = [(round(r.lr / 3e-4, 6), r.method) for r in runs if r.optimizer == "lion" and r.task == "vit, batches of 64"]
    assert lion == [(1, "plain"), (1, "adaptlr"), (100, "adaptlr"), (0.001, "adaptlr")]
    assert {(r.lr, r.method) for r in runs if r.optimizer == "prodigy"} == {(1, "plain"), (1, "adaptlr")}


def test_what_is_recovered() -> None:
    def row(method: str, lr: float, loss: float) -> dict[str, object]:
        row = {"task": "mlp, steps down", "optimizer": "adam", "lr": lr, "seed": 0, "method": method, "loss": loss}
        return {**row, "decisions": [] if method == "plain" else [[1, "roll back", "too hot"]]}

    lines = table([row("adaptlr", 1e-1, 0.5), row("plain", 1e-3, 0.1), row("adaptlr", 1e-6, 0.95), row("adaptlr", 1e-1, 0.1)])
    assert [(x["factor"], x["recovered"]) for x in lines] == [(100.0, 0.5), (0.001, 0.0), (100.0, 1.0)]
    assert lines[0]["first"] == "roll back: too hot"
    assert summary(lines)["steps down, x100"] == {"runs": 2, "changed": 2, "mean": 0.75, "worst": 0.5}


def test_other_optimizers_are_told_apart_and_those_left_alone_are_counted() -> None:
    def row(method: str, optimizer: str, decisions: list[object]) -> dict[str, object]:
        row = {"task": "mlp, batches of 64", "optimizer": optimizer, "lr": 0.02, "seed": 0, "method": method, "loss": 0.1}
        return {**row, "decisions": decisions}

    cut = [[1, "roll back", "too hot"]]
    rows = [row(method, optimizer, []) for optimizer in ("lion", "muon") for method in ("plain", "adaptlr")]
    assert {k: v["changed"] for k, v in summary(table(rows)).items()} == {"lion, x1": 0, "muon, x1": 0}
    rows[1]["decisions"] = cut
    assert {k: v["changed"] for k, v in summary(table(rows)).items()} == {"lion, x1": 1, "muon, x1": 0}


@pytest.mark.parametrize("optimizer", OTHER_OPTIMIZERS)
def test_another_optimizer_is_left_alone_where_its_learning_rate_is_usual(
    optimizer: str, blobs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(everyday, "STEPS", 60)
    both = [r for r in wrong_runs([0], ["mlp"]) if r.optimizer == optimizer][:2]
    for run in both:
        train(run, out=tmp_path, data="")
    publish(both, tmp_path, seeds=[0])
    rows = [json.loads((tmp_path / run.name / "run.json").read_text()) for run in both]
    assert rows[0]["loss"] == rows[1]["loss"] < 0.5
    assert rows[1]["decisions"] == []


def test_from_run_to_summary(blobs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(everyday, "STEPS", 60)
    runs = [r for r in wrong_runs([0], ["mlp"]) if r.task == "mlp, steps down" and r.optimizer == "adam"]
    for run in runs:
        train(run, out=tmp_path, data="")
    publish(runs, tmp_path, seeds=[0])
    told = json.loads((tmp_path / "summary.json").read_text())["recovered"]
    assert set(told) == {"steps down, x100", "steps down, x0.001"}
    assert min(of["worst"] for of in told.values()) > 0.5
