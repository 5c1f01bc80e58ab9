"""Fits that come after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.gauntlet.cells import GRID
from experiments.gauntlet.tasks import TASKS
from experiments.later_fits.runs import COLUMNS, KINDS, NETS, all_runs, train
from experiments.recovery import LRS, Run


def made(out: Path, **what: Any) -> dict[str, Any]:
    run = Run(**{"task": "digits mlp", "optimizer": "adam", "seed": 0, "method": "adaptlr", **what})
    train(run, out=out, data="")
    return json.loads((out / run.name / "run.json").read_text())


def test_all_learning_rates_of_all_kinds() -> None:
    runs = all_runs([1, 2], ["digits mlp", "digits resnet"])
    assert len(runs) == len({r.name for r in runs}) == 2 * len(KINDS) * len(LRS) * 2 * 2
    assert {(r.task, r.optimizer) for r in runs} == {("digits mlp", "adam"), ("digits resnet", "rmsprop")}


def test_nets_are_the_gauntlets_one_column_each() -> None:
    assert len(NETS) == len(COLUMNS)
    for name, lr in COLUMNS.items():
        task, net, *_ = name.split("/")
        assert net in TASKS[task].nets
        assert lr in GRID


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_learning_rate_is_left_alone(kind: str, tmp_path: Path) -> None:
    """A second fit as the first."""
    plain, watched = (made(tmp_path, schedule=kind, lr=1e-3, method=m) for m in ("plain", "adaptlr"))
    assert watched["decisions"] == []
    assert watched["reached"] == plain["reached"]
    assert len(plain["reached"]) == KINDS[kind].fits
    assert plain["loss"] < 0.3 < plain["begin"]


@pytest.mark.parametrize("kind", ["three fits", "three fits, new optimizers"])
def test_three_fits_that_are_too_cold_are_raised(kind: str, tmp_path: Path) -> None:
    row = made(tmp_path, schedule=kind, lr=1e-6)
    assert sum("so was the fit before" in words for *_, words in row["decisions"]) == 2
    assert row["loss"] < 0.1


def test_a_second_fit_that_is_too_hot_keeps_what_the_first_has_learned(tmp_path: Path) -> None:
    kind = "after a good fit, new optimizer"
    plain, watched = (made(tmp_path, schedule=kind, lr=10.0, method=m) for m in ("plain", "adaptlr"))
    assert plain["reached"][0] == watched["reached"][0] > 0.9
    assert plain["reached"][1] < 0.5
    assert watched["reached"][1] > 0.9
    assert [action for _, action, _ in watched["decisions"]][:1] == ["roll back"], "and what the first did is not among it"


@pytest.mark.parametrize("kind", ["after an interrupted fit", "after an interrupted fit, new optimizer"])
def test_a_fit_that_is_too_cold_is_raised_after_one_that_was_stopped(kind: str, tmp_path: Path) -> None:
    plain, watched = (made(tmp_path, schedule=kind, lr=1e-5, method=m) for m in ("plain", "adaptlr"))
    assert plain["reached"][0] == watched["reached"][0] < 0.2
    assert plain["loss"] > 0.8
    assert watched["loss"] < 0.2


def test_only_a_new_optimizer_forgets(tmp_path: Path) -> None:
    kept, new = (made(tmp_path, schedule=k, lr=1e-2, method="plain") for k in ("three fits", "three fits, new optimizers"))
    assert kept["reached"][0] == new["reached"][0]
    assert kept["reached"][1:] != new["reached"][1:]
