"""Whole epochs: every image once an epoch, and a run that is left alone ends the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.epochs import runs as epochs
from experiments.epochs.runs import TASKS, all_runs, images, train
from experiments.everyday.runs import METHODS
from experiments.recovery import Run


@pytest.fixture(autouse=True)
def few_images(blobs: None) -> Iterator[None]:
    images.cache_clear()
    yield
    images.cache_clear()


def test_runs_have_names_of_their_own() -> None:
    every = all_runs((0,), TASKS)
    assert len({r.name for r in every}) == len(every) == 336


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_is_left_alone_ends_the_same(task: str, tmp_path: Path) -> None:
    three = [Run(task=task, optimizer="adam", schedule="flat", lr=1e-3, seed=0, method=m) for m in METHODS]
    for run in three:
        train(run, out=tmp_path, data="")
    rows = [json.loads((tmp_path / run.name / "run.json").read_text()) for run in three]
    assert [len(r.get("decisions", ())) for r in rows] == [0, 0, 0]
    assert rows[0]["loss"] == rows[1]["loss"] == rows[2]["loss"] < rows[0]["begin"]


def test_an_epoch_has_every_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    cross_entropy = torch.nn.functional.cross_entropy

    def watched(out: Tensor, y: Tensor) -> Tensor:
        seen.append(y)
        return cross_entropy(out, y)

    monkeypatch.setattr(epochs.nn.functional, "cross_entropy", watched)
    train(Run(task="fashion-mlp", optimizer="sgd", schedule="cosine", lr=1e-2, seed=0, method="plain"), out=tmp_path, data="")
    labels = images("fashion", "")[1]
    n = -(-len(labels) // TASKS["fashion-mlp"].batch)
    assert len(seen) == 2 * n
    for epoch in (seen[:n], seen[n:]):
        assert torch.equal(torch.cat(epoch).sort().values, labels.sort().values)
    assert not torch.equal(torch.cat(seen[:n]), torch.cat(seen[n:]))
