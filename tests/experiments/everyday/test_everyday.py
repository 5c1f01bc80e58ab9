"""Runs at everyday learning rates: the same to the last bit while nothing is done, and counted where something is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.everyday import runs as everyday
from experiments.everyday.runs import METHODS, NETS, all_runs, publish, summary, table, train
from experiments.everyday.ways import WAYS
from experiments.recovery import Run


@pytest.fixture(autouse=True)
def short(blobs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everyday, "STEPS", 60)


def runs(net: str, lr: float, way: str = "batches of 64") -> list[Run]:
    return [Run(task=f"{net}, {way}", optimizer="adam", schedule="flat", lr=lr, seed=0, method=m) for m in METHODS]


@pytest.mark.parametrize(("net", "way"), [*((net, "batches of 64") for net in NETS), *(("mlp", way) for way in WAYS)])
def test_watched_or_not_a_run_that_is_left_alone_ends_the_same(net: str, way: str, tmp_path: Path) -> None:
    three = runs(net, 1e-3, way)
    for run in three:
        train(run, out=tmp_path, data="")
    rows = [json.loads((tmp_path / run.name / "run.json").read_text()) for run in three]
    assert [len(r.get("decisions", ())) for r in rows] == [0, 0, 0]
    assert rows[0]["loss"] == rows[1]["loss"] == rows[2]["loss"]


def test_what_is_changed_is_counted(tmp_path: Path) -> None:
    both = [*runs("mlp", 1e-3), *runs("mlp", 10.0)]
    for run in both:
        train(run, out=tmp_path, data="")
    publish(both, tmp_path, seeds=[0])
    told = json.loads((tmp_path / "summary.json").read_text())["methods"]
    assert set(told) == {"adaptlr, batches of 64", "blind, batches of 64"}
    for of in told.values():
        assert (of["runs"], of["changed"], of["better"], of["worse"], of["others_differ"]) == (2, 1, 1, 0, 0)
        assert of["mean_gain"] > 0.2


def test_the_summary_keeps_gains_and_losses_apart() -> None:
    def line(error: float, decisions: int) -> dict[str, Any]:
        return {"task": "mlp, batches of 2", "method": "blind", "error_plain": 0.2, "error": error, "decisions": decisions}

    (of,) = summary([line(0.2, 0), line(0.1, 1), line(0.35, 2), line(0.2, 1), line(0.21, 0)]).values()
    assert of == {"runs": 5, "changed": 3, "better": 1, "worse": 1, "mean_gain": -0.0167, "most_lost": 0.15, "others_differ": 1}


def test_a_table_has_a_line_for_each_run_with_adaptlr() -> None:
    rows = [{**vars(r), "loss": 0.1, "decisions": [[3, "rescale", "colder"]] * (r.method == "blind")} for r in runs("mlp", 1e-3)]
    lines = table(rows)
    assert [(x["method"], x["decisions"], x["first"]) for x in lines] == [("adaptlr", 0, ""), ("blind", 1, "rescale: colder")]


def test_runs_have_names_of_their_own() -> None:
    every = all_runs((0, 1), NETS)
    assert len({r.name for r in every}) == len(every) == 1980
    assert {r.task for r in every} == {f"{net}, {way}" for net in NETS for way in WAYS}
