"""The seed's counting, against a slow twin; and that a probe leaves nothing behind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import (
    Callback,
    CancelFitException,  # pyright: ignore[reportAttributeAccessIssue]  (fastai makes it at run time)
)
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.vision.learner import create_body
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

from experiments.batches import Batches
from experiments.mnist_activations.probe import COLUMNS, SeedProbe, counted, probed

# A quarter and a tenth: never on the edge of a bin, where single precision may fall on either side. The outermost edges are in.
VALUES = st.integers(-80, 80).map(lambda k: k / 4 + 0.1) | st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, 10.0])


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_counts_against_a_slow_twin(values: list[float]) -> None:
    counts, rest = counted(torch.tensor(values))
    finite = [v for v in values if np.isfinite(v)]
    wanted = [sum(i / 4 <= v < (i + 1) / 4 or (v == 10 and i == 39) for v in finite) for i in range(40)]
    assert counts.tolist() == wanted
    shares = dict(zip(COLUMNS, rest.tolist(), strict=True))
    assert shares["negative_frac"] == pytest.approx(sum(v < 0 for v in finite) / len(values))
    assert shares["over_frac"] == pytest.approx(sum(v > 10 for v in finite) / len(values))
    assert shares["nonfinite_frac"] == pytest.approx(1 - len(finite) / len(values))


class Stop(Callback):
    learn: Any

    def __init__(self, error: type[BaseException] | None) -> None:
        self.error = error

    def after_batch(self) -> None:
        if self.error is not None and self.learn.train_iter == 1:
            raise self.error


def learner() -> Learner:
    x, y = torch.randn(16, 3, 32, 32), torch.randint(0, 2, (16,))
    loader = Batches(16, lambda index: (x[index], y[index]), changes=[], train=True, bs=8)
    body: Any = create_body(resnet18(weights=None), cut=-2)
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))
    return Learner(DataLoaders(loader, loader), model, loss_func=nn.CrossEntropyLoss())


@pytest.mark.parametrize("error", [None, CancelFitException, KeyboardInterrupt])
def test_the_probe_sees_training_batches_and_leaves_no_hook(error: type[BaseException] | None, tmp_path: Path) -> None:
    learn, probe = learner(), SeedProbe()
    model: Any = learn.model
    interrupted = pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else nullcontext()
    with learn.no_bar(), learn.no_logging(), interrupted, probe.hooked(model[0]):
        learn.fit(1, 1e-3, cbs=[probe, Stop(error)])
    assert all(not m._forward_hooks for m in probed(model[0]))
    probe.save(tmp_path / "seed.npz")
    with np.load(tmp_path / "seed.npz") as saved:
        assert saved["counts"].shape == ((2 if error is None else 1), 5, 40)
        assert saved["rest"].shape[1:] == (5, len(COLUMNS))
        assert saved["counts"][0, 0].sum() <= 8 * 64 * 16 * 16
