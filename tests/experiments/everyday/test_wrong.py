"""Wrong learning rates under other schedules: what is run, and how it is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.everyday import runs as everyday
from experiments.everyday.runs import NETS, train
from experiments.everyday.wrong import publish, summary, table, wrong_runs


def test_each_net_and_schedule_has_both_factors() -> None:
    runs = wrong_runs([0], NETS)
    assert len({r.name for r in runs}) == len(runs) == 120
    assert {round(r.lr, 9) for r in runs if r.optimizer == "adam" and r.task == "mlp, warm restarts"} == {1e-3, 1e-1, 1e-6}


def test_what_is_recovered() -> None:
    def row(method: str, lr: float, loss: float) -> dict[str, object]:
        row = {"task": "mlp, steps down", "optimizer": "adam", "lr": lr, "seed": 0, "method": method, "loss": loss}
        return {**row, "decisions": [] if method == "plain" else [[1, "roll back", "too hot"]]}

    lines = table([row("adaptlr", 1e-1, 0.5), row("plain", 1e-3, 0.1), row("adaptlr", 1e-6, 0.95), row("adaptlr", 1e-1, 0.1)])
    assert [(x["factor"], x["recovered"]) for x in lines] == [(100.0, 0.5), (0.001, 0.0), (100.0, 1.0)]
    assert lines[0]["first"] == "roll back: too hot"
    assert summary(lines)["steps down, x100"] == {"runs": 2, "mean": 0.75, "worst": 0.5}


def test_from_run_to_summary(blobs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(everyday, "STEPS", 60)
    runs = [r for r in wrong_runs([0], ["mlp"]) if r.task == "mlp, steps down" and r.optimizer == "adam"]
    for run in runs:
        train(run, out=tmp_path, data="")
    publish(runs, tmp_path, seeds=[0])
    told = json.loads((tmp_path / "summary.json").read_text())["recovered"]
    assert set(told) == {"steps down, x100", "steps down, x0.001"}
    assert min(of["worst"] for of in told.values()) > 0.5
