"""One run of the seed: a ResNet-18 from fastai, ``fit(3, lr)``, watched or put right by adaptlr. Written to a folder of its own."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import error_rate
from fastai.torch_core import set_seed
from tqdm import tqdm

from adaptlr.fastai import AdaptLR
from experiments.mnist_activations.data import BATCH, DIGITS, loaders
from experiments.mnist_activations.probe import SeedProbe
from experiments.record import finite, told, versions, write
from experiments.seed_learner import StepBar, resnet18_learner

FULL = 35_000


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, and how. ``method`` is "watch" (adaptlr looks on, and changes nothing) or "adaptlr"."""

    start: str  # "pretrained" (ImageNet body, frozen but for its norms) or "untrained"
    lr: float
    method: str = "watch"
    wd: float = 0.01
    seed: int = 0
    epochs: int = 3
    n_train: int = FULL
    n_valid: int = FULL

    @property
    def name(self) -> str:
        decay = "" if self.wd == 0.01 else f"-wd{self.wd:g}"
        return f"{self.start}-lr{self.lr:g}{decay}-{self.method}-n{self.n_train}-seed{self.seed}"

    @property
    def steps(self) -> int:
        return self.epochs * (self.n_train // BATCH)


def run_of(row: Mapping[str, Any]) -> Run:
    """The run that wrote this row."""
    return Run(**{name: row[name] for name in Run.__dataclass_fields__})


def learner(run: Run, data: str, weights: str | None) -> Learner:
    """The same weights for the same seed, whatever the learning rate and the method."""
    set_seed(run.seed)
    return resnet18_learner(
        loaders(data, run.n_train, run.n_valid),
        10,
        pretrained=run.start == "pretrained",
        weights=weights,
        loss_func=CrossEntropyLossFlat(),
        metrics=error_rate,
        wd=run.wd,
    )


def train(run: Run, *, data: str, weights: str | None, out: Path, slot: int = 0) -> dict[str, Any]:
    """Train, write ``trace.jsonl``, ``seed.npz`` and, last, ``run.json`` under ``out / run.name``; return what is in the last."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.jsonl").unlink(missing_ok=True)
    learn = learner(run, data, weights)
    probe = SeedProbe()
    adapt = AdaptLR(act=run.method == "adaptlr", trace=folder / "trace.jsonl")
    begin = time.perf_counter()
    bar = tqdm(total=run.steps, desc=run.name, position=slot, leave=False, unit="step")
    model: Any = learn.model  # fastai's class has it at run time only
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging(), bar, probe.hooked(model[0]):
        warnings.simplefilter("ignore")  # what adaptlr says is in the row
        set_seed(run.seed + 1)
        learn.fit(run.epochs, run.lr, cbs=[probe, adapt, StepBar(bar)])
    probe.save(folder / "seed.npz")
    log = [dict(zip(("train_loss", "valid_loss", "error"), map(finite, v), strict=True)) for v in learn.recorder.values]
    row = {
        **dataclasses.asdict(run),
        "data": "digits" if data == DIGITS else "MNIST",
        "log": log,
        "error": log[-1]["error"],
        **told(adapt),
        "seconds": round(time.perf_counter() - begin, 1),
        "versions": versions(),
    }
    write(folder / "run.json", row)
    return row
