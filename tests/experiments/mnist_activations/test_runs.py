"""From images to a row, a picture and a table, on scikit-learn's digits; and MNIST's folder, made up."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.text import Text
from torchvision.models import resnet18

from adaptlr import Trace
from experiments.mnist_activations.data import DIGITS, halves, has_mnist, loaders
from experiments.mnist_activations.picture import picture
from experiments.mnist_activations.runs import Run, learner, run_of, train
from experiments.mnist_activations.signals import first_steps, seed_near_zero, shrink_per_step
from experiments.mnist_activations.table import SEED, means, read, table

SMALL = Run(start="untrained", lr=1.0, epochs=2, n_train=256, n_valid=64)


def write_mnist(folder: Path, n: int) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, size in (("train", n), ("t10k", n // 2)):
        images = rng.integers(0, 255, (size, 28, 28), dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, size, 28, 28) + images.tobytes())
        labels = rng.integers(0, 10, size, dtype=np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, size) + labels.tobytes())


class TestData:
    def test_the_halves_are_all_images_once(self, tmp_path: Path) -> None:
        write_mnist(tmp_path, 40)
        assert has_mnist(str(tmp_path))
        x, y, x_valid, y_valid = halves(str(tmp_path))
        assert x.shape == x_valid.shape == (30, 1, 32, 32)
        assert x.dtype == torch.uint8
        assert len({t.numpy().tobytes() for t in torch.cat([x, x_valid])}) == 60
        assert len(y) == len(y_valid) == 30

    def test_no_mnist_is_an_error_that_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no MNIST/raw in .*pass --data FOLDER"):
            halves(str(tmp_path / "none"))

    def test_training_images_are_changed_and_validation_images_are_not(self) -> None:
        dls = loaders(DIGITS, 128, 600)
        (x1, y1), (x2, y2) = (next(iter(dls[1])) for _ in range(2))
        assert torch.equal(x1, x2)
        assert torch.equal(y1, halves(DIGITS)[3][:512])
        assert torch.equal(y1, y2)
        plain = halves(DIGITS)[0][:128].float().div(255).expand(-1, 3, -1, -1)
        mean, std = plain.new_tensor([0.485, 0.456, 0.406]), plain.new_tensor([0.229, 0.224, 0.225])
        plain = (plain - mean[:, None, None]) / std[:, None, None]
        seen = next(iter(dls[0]))[0].as_subclass(torch.Tensor)
        nearest = torch.cdist(seen.flatten(1), plain.flatten(1)).min(1).values
        assert (nearest > 1).float().mean() > 0.9, "flips and affine changes are for training"


def test_a_pretrained_body_comes_from_the_file_and_is_frozen_but_for_its_norms(tmp_path: Path) -> None:
    state = {k: v for k, v in resnet18(weights=None).state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "body.pth")
    run = Run(start="pretrained", lr=0.1, n_train=64, n_valid=64)
    learn = learner(run, DIGITS, str(tmp_path / "body.pth"))
    body = learn.model[0]  # pyright: ignore[reportIndexIssue]
    assert torch.equal(body[0].weight, state["conv1.weight"])
    assert {m.weight.requires_grad for m in body.modules() if isinstance(m, torch.nn.Conv2d)} == {False}
    assert {m.weight.requires_grad for m in body.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {True}
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no ResNet-18 state"):
        learner(run, DIGITS, str(tmp_path / "other.pth"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mnist")
    for method in ("watch", "adaptlr"):
        train(Run(**{**vars(SMALL), "method": method}), data=DIGITS, weights=None, out=out)
    return out


def test_a_ruined_run_and_its_rescue(finished: Path) -> None:
    plain, rescued = read(finished)
    assert (plain["method"], rescued["method"]) == ("watch", "adaptlr")
    assert plain["data"] == "digits"
    assert run_of(plain) == SMALL
    assert not plain["decisions"]
    assert plain["findings"]
    assert rescued["decisions"][0]["action"] == "roll back"
    assert plain["log"][0]["valid_loss"] is None or plain["log"][0]["valid_loss"] > 10 * rescued["log"][0]["valid_loss"]
    counts = np.load(finished / SMALL.name / "seed.npz")["counts"]
    assert counts.shape == (SMALL.steps, 5, 40)
    when = first_steps(Trace.load(finished / SMALL.name / "trace.jsonl"), counts)
    assert when.update_ratio == 0
    assert when.loss is not None
    assert when.loss <= 2
    assert when.finding is not None
    assert when.finding <= 3


def test_the_picture_says_what_happened(finished: Path) -> None:
    for row in read(finished):
        figure = picture(finished / run_of(row).name, row)
        words = [t.get_text() for t in figure.findobj(Text)]
        assert any(w.startswith("untrained ResNet-18 on MNIST, fit(3, 1)") or "validation error" in w for w in words)
        assert any("broken, found at step" in w for w in words)
        assert any("rolled back" in w for w in words) == (row["method"] == "adaptlr")
        assert {"training step", "epoch"} <= set(words)
    assert not plt.get_fignums()


def test_near_zero_of_known_counts() -> None:
    counts = np.zeros((30, 5, 40), np.float32)
    counts[:, :, 5] = 1
    counts[4:, 2, 0] = 99
    counts[:, 4] = 0
    share = seed_near_zero(counts)
    assert share[0, 2] == 0
    assert share[4, 2] == pytest.approx(0.99)
    assert np.isnan(share[:, 4]).all()


def test_decay_alone_shrinks_by_lr_times_decay(finished: Path) -> None:
    trace = Trace.load(finished / SMALL.name / "trace.jsonl")
    rms = [r.groups[0].weight_rms for r in trace.readings]
    assert rms[-1] is not None
    assert rms[-4] is not None
    assert shrink_per_step(trace, 0, slice(-4, None)) == pytest.approx((rms[-1] / rms[-4]) ** (1 / 3), rel=1e-6)


def test_the_table_of_known_rows() -> None:
    def row(lr: float, error: float, *, method: str = "watch", wd: float = 0.01, seed: int = 0) -> dict[str, object]:
        made = {**vars(Run(start="untrained", lr=lr, method=method, wd=wd, seed=seed)), "error": error}
        log = [{"train_loss": 1.0, "valid_loss": None, "error": error}]
        return {**made, "log": log, "decisions": [], "seconds": 1.0, "versions": {"torch": "2", "commit": "c"}}

    rows = [row(1.0, 0.9), row(1.0, 0.7, seed=1), row(1.0, 0.03, method="adaptlr"), row(1.0, 0.8, wd=0.0)]
    lines = table(rows)
    assert [line["seeds_error"] for line in lines] == [SEED["untrained", 1.0][1], 0.899, "", ""]
    assert lines[0]["valid_loss"] == "nan"
    assert [(m["mean_error"], m["lowest"], m["highest"], m["seeds"]) for m in means(rows)] == [
        (0.8, 0.7, 0.9, 2),
        (0.03, 0.03, 0.03, 1),
        (0.8, 0.8, 0.8, 1),
    ]
