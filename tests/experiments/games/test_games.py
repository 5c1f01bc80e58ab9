"""Games: that they train, that adaptlr leaves them alone, and how that is counted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.games import games
from experiments.games.__main__ import all_runs, publish, summary, table
from experiments.games.games import GAMES, train


def test_every_game_is_there_by_each_method() -> None:
    runs = all_runs([0, 1], GAMES)
    assert len({r.name for r in runs}) == len(runs) == 2 * 3 * len(GAMES)
    assert {r.task for r in all_runs([0], ["ring"])} == {"ring"}


@pytest.mark.parametrize("name", GAMES)
def test_a_short_game_ends_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "_BATCH", 16)
    short = dataclasses.replace(GAMES[name], steps=60)
    monkeypatch.setitem(GAMES, name, short)
    runs = all_runs([0], [name])
    for run in runs:
        train(run, out=tmp_path)
    publish(runs, tmp_path, seeds=[0])
    rows = [json.loads((tmp_path / run.name / "run.json").read_text()) for run in runs]
    assert rows[0]["loss"] == rows[1]["loss"] == rows[2]["loss"]
    assert not any(d[1] != "hold" for r in rows for d in r["decisions"])


def row(method: str, loss: float, *actions: str, task: str = "ring") -> dict[str, Any]:
    same = {"optimizer": "adam", "lr": 0.01, "seed": 0, "begin": 2.0}
    return {**same, "task": task, "method": method, "loss": loss, "decisions": [[64, a, "critic: too cold"] for a in actions]}


def test_what_is_said_and_what_is_done_are_counted_apart() -> None:
    rows = [
        row("plain", 0.1),
        row("blind", 0.1, "hold", "hold"),
        row("plain", 0.2, task="b"),
        row("blind", 0.3, "rescale", task="b"),
    ]
    lines = table(rows)
    assert [(line["said"], line["done"], line["distance_plain"], line["distance"]) for line in lines] == [
        (2, 0, 0.1, 0.1),
        (0, 1, 0.2, 0.3),
    ]
    assert summary(lines) == {"blind": {"runs": 2, "with_a_warning": 1, "changed": 1, "same_end": 1}}
