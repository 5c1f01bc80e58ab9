"""Long runs at good learning rates: which they are, and how they are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.other_losses.longer import best_lrs, long_runs, publish, summary, table
from experiments.other_losses.runs import train
from experiments.other_losses.tasks import TASKS


def test_the_best_learning_rate_is_plain_s_own(tmp_path: Path) -> None:
    rows = ["plain,0.001,0.9", "plain,0.01,1.0", "plain,0.1,0.2", "adaptlr,0.1,1.0"]
    text = ["task,optimizer,schedule,method,lr,recovered", *[f"words,adam,flat,{row}" for row in rows]]
    (tmp_path / "table.csv").write_text("\n".join(text))
    assert best_lrs(tmp_path / "table.csv") == {("words", "adam", "flat"): 0.01}


def test_every_task_is_there_under_each_of_its_loops() -> None:
    runs = long_runs([0, 1], TASKS)
    assert len({r.name for r in runs}) == len(runs) == 2 * 3 * 66
    assert {(r.task, r.optimizer, r.schedule) for r in runs} == {(t, *loop) for t in TASKS for loop in TASKS[t].loops}
    assert {r.task for r in long_runs([0], ["words"])} == {"words"}


def row(method: str, loss: float | None, *, decisions: int = 0, task: str = "words") -> dict[str, Any]:
    same = {"optimizer": "adam", "schedule": "flat", "lr": 0.01, "seed": 0, "begin": 2.0}
    return {**same, "task": task, "method": method, "loss": loss, "decisions": [[64, "rescale", "too cold"]] * decisions}


def test_what_was_changed_is_counted_as_lower_or_higher() -> None:
    rows = [
        *(row("plain", loss, task=task) for task, loss in (("a", 1.0), ("b", 1.0), ("c", None), ("d", 1.0), ("e", 1.0))),
        row("blind", 0.5, decisions=2, task="a"),
        row("blind", None, decisions=1, task="b"),
        row("blind", 1.5, decisions=1, task="c"),
        row("blind", 1.0, task="d"),
        row("blind", 1.1, task="e"),
    ]
    lines = table(rows)
    assert [line["first"] for line in lines] == ["rescale: too cold"] * 3 + ["", ""]
    assert summary(lines) == {"blind": {"runs": 5, "changed": 3, "lower": 2, "higher": 1, "others_differ": 1}}


def test_a_run_is_longer_and_left_alone(tmp_path: Path) -> None:
    runs = long_runs([0], ["directions"])[:3]
    for run in runs:
        train(run, out=tmp_path, times=2)
    publish(runs, tmp_path, seeds=[0])
    rows = [json.loads((tmp_path / run.name / "run.json").read_text()) for run in runs]
    assert [r["method"] for r in rows] == ["plain", "adaptlr", "blind"]
    assert rows[0]["loss"] == rows[1]["loss"] == rows[2]["loss"]
    train(runs[0], out=tmp_path / "short")
    assert json.loads((tmp_path / "short" / runs[0].name / "run.json").read_text())["loss"] != pytest.approx(rows[0]["loss"])
