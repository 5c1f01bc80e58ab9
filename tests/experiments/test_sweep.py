"""The command line of experiments that train at every learning rate, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.recovery import Run
from experiments.sweep import Asked, command_line, make


def asked(monkeypatch: pytest.MonkeyPatch, *words: str, data: str = "") -> Asked:
    monkeypatch.setattr("sys.argv", ["experiment", *words])
    return command_line("What it does.", out="runs/here", tasks=("red", "blue"), quick="blue", called="bodies", data=data)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_tasks_and_two_seeds_unless_others_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = Asked(tasks=["red", "blue"], seeds=[0, 1], out=Path("runs/here"), jobs=2, data="")
    assert asked(monkeypatch) == all_of_them
    assert Path("runs/here").is_dir()
    some = asked(monkeypatch, "--bodies", "red", "--seeds", "3", "--out", "there", "--jobs", "1", "--data", "d", data="images")
    assert some == Asked(tasks=["red"], seeds=[3], out=Path("there"), jobs=1, data="d")


def test_a_quick_run_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = asked(monkeypatch, "--quick")
    assert (quick.tasks, quick.seeds, quick.out) == (["blue"], [0], Path("runs/here/quick"))


def test_a_task_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no such bodies: green; there are red, blue"):
        asked(monkeypatch, "--bodies", "red,green")


def test_what_needs_no_data_has_no_option_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        asked(monkeypatch, "--data", "d")


@pytest.mark.parametrize("data", ["", "images"])
def test_what_was_asked_for_is_made_and_published(data: str, tmp_path: Path) -> None:
    """Trainers that need no data folder are not given one."""
    trained: list[tuple[str, dict[str, Any]]] = []
    published: list[tuple[list[str], Path, list[int]]] = []

    def all_runs(seeds: list[int], tasks: list[str]) -> list[Run]:
        return [Run(task=t, optimizer="sgd", schedule="flat", lr=0.1, seed=s, method="plain") for t in tasks for s in seeds]

    def train(run: Run, *, out: Path, **more: Any) -> None:
        assert out == tmp_path
        trained.append((run.name, more))

    def publish(runs: list[Run], out: Path, *, seeds: list[int]) -> None:
        published.append(([r.name for r in runs], out, seeds))

    asked = Asked(tasks=["red", "blue"], seeds=[3], out=tmp_path, jobs=1, data=data)
    make(asked, all_runs, train, publish)
    names = ["red-sgd-flat-0.1-plain-seed3", "blue-sgd-flat-0.1-plain-seed3"]
    assert trained == [(name, {"data": data} if data else {}) for name in names]
    assert published == [(names, tmp_path, [3])]
