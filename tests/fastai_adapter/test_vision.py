"""An image learner from fastai's own parts: tensor subclasses, a three-group splitter, export and predict; and mixed precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.learner import CastToTensor, load_learner
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner
from fastcore.basics import noop
from PIL import Image
from torchvision.models import resnet18

from adaptlr import Action
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import BATCHES, assert_same, everything, hooks, is_clean, learner

pytestmark = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")
on_cpu = pytest.mark.filterwarnings("ignore:.*CUDA is not available:UserWarning")


@pytest.fixture
def images(tmp_path: Path) -> Any:
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{'ab'[i % 2]}{i}.png")
    return ImageDataLoaders.from_name_func(
        tmp_path, sorted(tmp_path.glob("*.png")), label, bs=4, num_workers=0, valid_pct=0.2, seed=0
    )


def label(path: str) -> str:
    return Path(path).name[0]


@pytest.mark.parametrize("cast", [True, False], ids=["plain tensors", "TensorImage"])
@pytest.mark.filterwarnings("ignore:load_learner")
def test_an_image_learner(images: Any, cast: bool) -> None:
    learn: Any = vision_learner(images, resnet18, pretrained=False, cbs=AdaptLR())
    learn.remove_cbs([ProgressCallback] if cast else [ProgressCallback, CastToTensor])
    learn.logger = noop
    learn.unfreeze()
    learn.fit(1, slice(1e-6, 1e-2))
    trace = learn.adapt_lr.trace
    assert trace.readings[0].stages[0].name == "conv1"
    assert len(trace.readings[0].groups) == 3
    assert all(np.isfinite(r.loss) for r in trace.readings)
    assert is_clean(learn)
    learn.export()
    loaded: Any = load_learner(learn.path / "export.pkl")
    assert hooks(loaded.model) == 0
    assert loaded.adapt_lr.runs == []
    assert loaded.predict(np.zeros((32, 32, 3), dtype=np.uint8))[0] in "ab"


@on_cpu
@pytest.mark.skipif(torch.cuda.is_available(), reason="on CUDA fp16 is for real: the next test")
def test_fp16_without_cuda_is_as_fastai_has_it() -> None:
    cb, runs = AdaptLR(), []
    for cbs in ([], [cb]):
        learn = learner(cbs=MixedPrecision())
        learn.fit(1, 3e-3, cbs=cbs)
        runs.append(everything(learn))
    assert_same(runs[1], runs[0])
    assert len(cb.trace.readings) == BATCHES


class Scaler(Callback):
    """Stands where MixedPrecision does, with a scaler that can be looked at."""

    order = MixedPrecision.order
    learn: Any

    def __init__(self) -> None:
        self.value, self.loaded = 0, []

    def before_fit(self) -> None:
        self.learn.scaler = self

    def after_step(self) -> None:
        self.value += 1

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state["value"]
        self.loaded.append(self.value)


def test_a_rollback_takes_the_scaler_along() -> None:
    cb, scaler = AdaptLR(), Scaler()
    learner().fit(1, 10.0, cbs=[cb, scaler])
    back = [d.restored_step for d in cb.decisions if d.action is Action.ROLLBACK]
    assert scaler.loaded == back != []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: on the CPU fastai's GradScaler is off, and skips no step")
@pytest.mark.parametrize("lr", [3e-3, 10.0])
def test_fp16_on_cuda(lr: float) -> None:
    cb, runs = AdaptLR(), []
    for cbs in ([], [cb]):
        learn = learner(device="cuda", cbs=MixedPrecision(init_scale=2.0**20))  # overflows at first: steps are skipped
        learn.fit(4, lr, cbs=cbs)
        runs.append(everything(learn))
        assert is_clean(learn)
    assert 0 < len(cb.trace.readings) < 4 * BATCHES
    if lr < 1:
        assert_same(runs[1], runs[0])
    else:
        assert any(d.action is Action.ROLLBACK for d in cb.decisions)
        assert np.isfinite([r.loss for r in cb.trace.readings[-BATCHES:]]).all()
