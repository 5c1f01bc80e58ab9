"""The fits: what goes in, the score, and what is left in the folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from experiments.audio_tagging.dataset import AudioData, Clips
from experiments.audio_tagging.picture import picture
from experiments.audio_tagging.runs import METHODS, Fit, f2, fit_of, learner, loaders, train
from experiments.audio_tagging.table import read, summary, table

SMALL = Fit(method="slice", epochs=1, size=32, n_train=128)


def clips(n: int, seed: int) -> Clips:
    rng = np.random.default_rng(seed)
    tags = np.eye(5, dtype=bool)[rng.integers(0, 5, n)]
    mels = tuple(rng.integers(0, 255, (128, int(rng.integers(128, 200))), dtype=np.uint8) for _ in range(n))
    return Clips(mels, tags)


@pytest.fixture(scope="module")
def data() -> AudioData:
    return AudioData(clips(128, 0), {"test": clips(70, 1), "other font": clips(10, 2)}, ("a", "b", "c", "d", "e"))


def slow_f2(logits: torch.Tensor, targets: torch.Tensor) -> float:
    scores = []
    for said, true in zip((1 / (1 + np.exp(-logits.numpy())) > 0.2).tolist(), targets.bool().tolist(), strict=True):
        hits = sum(a and b for a, b in zip(said, true, strict=True))
        precision = hits / sum(said) if any(said) else 0.0
        recall = hits / sum(true)
        scores.append(5 * precision * recall / (4 * precision + recall) if hits else 0.0)
    return sum(scores) / len(scores)


def test_f2_against_a_slow_twin() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, targets = 3 * torch.randn(50, 7, generator=rng), torch.rand(50, 7, generator=rng) < 0.3
    targets[:, 0] |= ~targets.any(1)
    assert float(f2(logits, targets.float())) == pytest.approx(slow_f2(logits, targets), abs=1e-6)
    assert float(f2(torch.full((3, 7), -9.0), targets[:3].float())) == 0.0, "nothing said"


def test_batches_are_crops_made_small(data: AudioData) -> None:
    dls = loaders(data, 32)
    train_batches, test_batches = list(dls[0]), list(dls[1])
    assert [len(y) for _, y in train_batches] == [64, 64]
    assert [len(y) for _, y in test_batches] == [64, 6]
    x, y = test_batches[0]
    assert x.shape == (64, 3, 32, 32)
    assert torch.equal(x[:, 0], x[:, 2])
    middle = data.tests["test"].mels[0]
    room = middle.shape[1] - 128
    crop = torch.from_numpy(middle[:, room // 2 : room // 2 + 128]).float() / 255
    assert torch.allclose(x[0, 0].as_subclass(torch.Tensor), crop.view(32, 4, 32, 4).mean((1, 3)), atol=1e-5)
    assert y[0].bool().tolist() == data.tests["test"].tags[0].tolist()


def test_all_methods_of_a_seed_begin_with_the_same_weights(data: AudioData) -> None:
    made = [learner(dataclasses.replace(SMALL, method=m), data, None) for m in ("slice", "good", "slice+adaptlr")]
    made.append(learner(dataclasses.replace(SMALL, seed=1), data, None))
    first, *others = ([p.detach() for p in x.model.parameters()] for x in made)  # pyright: ignore[reportFunctionMemberAccess]
    same = [all(torch.equal(a, b) for a, b in zip(first, o, strict=True)) for o in others]
    assert same == [True, True, False]
    assert [len(group) > 0 for group in made[0].splitter(made[0].model)] == [True] * 3


def test_confound_needs_the_weights_of_good(data: AudioData, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the method good of seed 0 first"):
        train(dataclasses.replace(SMALL, method="confound"), data=data, weights=None, out=tmp_path)


@pytest.fixture(scope="module")
def finished(data: AudioData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audio")
    for method in METHODS[:4]:
        train(dataclasses.replace(SMALL, method=method, size=16), data=data, weights=None, out=out)
    return out


def test_a_fit_leaves_its_row_and_its_trace(finished: Path) -> None:
    rows = read(finished)
    assert [r["method"] for r in rows] == list(METHODS[:4])
    for row in rows:
        folder = finished / fit_of(row).name
        assert len(row["log"]) == 1
        assert set(row["f2"]) == {"test", "other font"}
        assert row["log"][0]["f2"] == pytest.approx(row["f2"]["test"], abs=1e-6)
        assert len((folder / "trace.jsonl").read_text().splitlines()) >= 2
    assert all(not r["decisions"] for r in rows if r["method"] != "slice+adaptlr")
    assert json.loads((finished / fit_of(rows[0]).name / "run.json").read_text()) == rows[0]


def test_the_picture_names_its_axes(finished: Path) -> None:
    figure = picture(finished, read(finished))
    words = {t.get_text() for ax in figure.axes for t in (ax.xaxis.label, ax.yaxis.label)}
    assert {"epoch", "training step", "update ratio", "F2 at the end"} <= words
    assert not plt.get_fignums()


def test_summary_and_table_of_known_rows() -> None:
    def row(method: str, seed: int, value: float) -> dict[str, object]:
        end = {"f2": {"test": value}, "log": [], "decisions": [], "seconds": 1.0, "versions": {"torch": "2", "commit": "c"}}
        return {**dataclasses.asdict(Fit(method=method, seed=seed)), **end}

    rows = [row("slice", 0, 0.2), row("slice", 1, 0.3), row("good", 0, 0.4), row("good", 1, 0.6), row("slice+adaptlr", 1, 0.57)]
    got = summary(rows)
    assert got["seeds"] == [0, 1]
    test = got["test_sets"]["test"]
    assert test["mean_f2"] == {"slice": 0.25, "good": 0.5, "slice+adaptlr": 0.57}
    assert (test["good_over_slice"], test["adaptlr_over_good"]) == (2.0, 1.14)
    assert test["adaptlr_over_good_by_seed"] == {"1": 0.95}
    assert [line["f2_test"] for line in table(rows)] == [0.2, 0.3, 0.4, 0.6, 0.57]
