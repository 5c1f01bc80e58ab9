"""Runs of a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.brief.runs import COLUMNS, LENGTHS, SEEN, UNSEEN, all_runs, column_of, steps_of, train
from experiments.gauntlet.cells import Column
from experiments.gauntlet.optimizers import OPTIMIZERS
from experiments.gauntlet.tasks import TASKS
from experiments.recovery import LRS, Run


def made(out: Path, **what: Any) -> dict[str, Any]:
    run = Run(**{"task": "digits mlp 32", "optimizer": "sgd", "schedule": "flat", "seed": 0, "method": "adaptlr", **what})
    train(run, out=out, data="")
    return json.loads((out / run.name / "run.json").read_text())


def test_all_learning_rates_of_all_lengths() -> None:
    columns = ["digits/mlp/sgd/flat", "digits/mlp/adam/one-cycle"]
    runs = all_runs([1, 2], columns)
    assert len(runs) == len({r.name for r in runs}) == 2 * len(LENGTHS) * len(LRS) * 2 * 2
    assert {column_of(r.task, r.optimizer, r.schedule) for r in runs} == set(columns)
    assert {steps_of(r.task) for r in runs} == set(LENGTHS)


def test_columns_are_the_gauntlets_and_none_counts_as_seen_and_unseen() -> None:
    assert len(set(COLUMNS)) == len(SEEN) + len(UNSEEN)
    for column in map(Column.parse, COLUMNS):
        assert column.net in TASKS[column.task].nets
        assert column.optimizer in OPTIMIZERS


def test_a_run_is_of_so_many_steps(tmp_path: Path) -> None:
    """The more of them, the more is learned; and a good learning rate is left alone."""
    rows = {n: made(tmp_path, task=f"digits mlp {n}", lr=0.1) for n in LENGTHS}
    plain = {n: made(tmp_path, task=f"digits mlp {n}", lr=0.1, method="plain") for n in LENGTHS}
    assert all(rows[n]["decisions"] == [] for n in LENGTHS)
    assert {n: r["loss"] for n, r in rows.items()} == {n: r["loss"] for n, r in plain.items()}
    assert plain[24]["loss"] > plain[48]["loss"] > plain[96]["loss"]


@pytest.mark.parametrize("lr", [1e-6, 1e-2, 10.0])
def test_a_bad_learning_rate_is_put_right_within_32_steps(lr: float, tmp_path: Path) -> None:
    plain, watched = (made(tmp_path, lr=lr, method=m) for m in ("plain", "adaptlr"))
    assert watched["decisions"]
    assert watched["loss"] < 0.3
    assert plain["loss"] > 0.4
