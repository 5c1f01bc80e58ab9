"""One fit of the contest: ResNet-18 on spectrogram crops, ``fit_one_cycle``, with or without adaptlr, in a folder of its own."""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat
from fastai.torch_core import TensorImage, set_seed
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from adaptlr.fastai import AdaptLR
from experiments.audio_tagging.dataset import CROP, AudioData, Clips, Embedded, fsdkaggle2019
from experiments.batches import Batches
from experiments.record import finite, told, versions, write
from experiments.seed_learner import StepBar, resnet18_learner

BATCH = 64
SLICE, GOOD = slice(1e-6, 1e-2), 1e-2
METHODS = ("slice", "good", "slice+adaptlr", "confound", "pretrained+adaptlr")
LABELS = {
    "slice": "slice(1e-6, 1e-2)",
    "good": "1e-2",
    "slice+adaptlr": "slice(1e-6, 1e-2) with AdaptLR",
    "confound": "1e-2, then the slice on the same learner",
    "pretrained+adaptlr": "slice on a pretrained net, with AdaptLR",
}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One fit. All methods of a seed begin with the same weights and see the same batches; "confound" goes on from "good"."""

    method: str
    seed: int = 0
    epochs: int = 24
    size: int = 32  # pixels a side that a crop of 128 x 128 is averaged down to
    n_train: int = 2816

    @property
    def name(self) -> str:
        return f"{self.method}-{self.size}px-n{self.n_train}-e{self.epochs}-seed{self.seed}"

    @property
    def steps(self) -> int:
        return self.epochs * (self.n_train // BATCH)


def fit_of(row: Mapping[str, Any]) -> Fit:
    """The fit that wrote this row."""
    return Fit(**{name: row[name] for name in Fit.__dataclass_fields__})


def f2(logits: Tensor, targets: Tensor, threshold: float = 0.2) -> Tensor:
    """F-beta with beta 2 of ``sigmoid(logits) > threshold``, ``[clips, tags]``, mean over clips; as fastai v1's ``fbeta``."""
    said, true = logits.sigmoid() > threshold, targets.bool()
    hits = (said & true).sum(1)
    return (5 * hits / (4 * true.sum(1) + said.sum(1) + 1e-9)).mean()


def loaders(data: AudioData, size: int) -> DataLoaders:
    """Training crops at random places, and the first test set's middle ones."""
    first = next(iter(data.tests.values()))
    return DataLoaders(_loader(data.train, size, train=True), _loader(first, size, train=False))


def _loader(clips: Clips, size: int, *, train: bool) -> Batches:
    tags = torch.from_numpy(clips.tags).float()

    def crop(i: int) -> Tensor:
        mel = clips.mels[i]
        room = mel.shape[1] - CROP
        at = int(torch.randint(room + 1, ())) if train else room // 2
        return torch.from_numpy(mel[:, at : at + CROP])

    def make(index: Tensor) -> tuple[TensorImage, Tensor]:
        images = torch.stack([crop(i) for i in index.tolist()])[:, None].float().div_(255)
        small = functional.adaptive_avg_pool2d(images, size) if size != CROP else images
        return TensorImage(small.expand(-1, 3, -1, -1)), tags[index]

    return Batches(len(clips), make, changes=[], train=train, bs=BATCH)


def learner(fit: Fit, data: AudioData, weights: str | None) -> Learner:
    """The same weights for the same seed, whatever the method; unfrozen."""
    set_seed(fit.seed)
    pretrained = fit.method == "pretrained+adaptlr"
    learn = resnet18_learner(
        loaders(data, fit.size),
        len(data.tag_names),
        pretrained=pretrained,
        weights=weights,
        loss_func=BCEWithLogitsLossFlat(),
        metrics=f2,
    )
    learn.unfreeze()
    return learn


def train(fit: Fit, *, data: AudioData, weights: str | None, out: Path, slot: int = 0, dataset: str = "embedded") -> dict[str, Any]:
    """Fit, write ``trace.jsonl``, ``model.pth`` and, last, ``run.json`` under ``out / fit.name``; return what is in the last.

    Raises:
        FileNotFoundError: "confound" goes on from the weights of "good", which has not been run.
    """
    folder = out / fit.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.jsonl").unlink(missing_ok=True)
    learn = learner(fit, data, weights)
    model: Any = learn.model  # fastai's class has it at run time only
    if fit.method == "confound":
        model.load_state_dict(torch.load(_before(fit, out), weights_only=True))
    adapt = AdaptLR(act=fit.method.endswith("adaptlr"), trace=folder / "trace.jsonl")
    begin = time.perf_counter()
    bar = tqdm(total=fit.steps, desc=fit.name, position=slot, leave=False, unit="step")
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging(), bar:
        warnings.simplefilter("ignore")  # what adaptlr says is in the row
        set_seed(fit.seed + 1)
        learn.fit_one_cycle(fit.epochs, GOOD if fit.method == "good" else SLICE, cbs=[adapt, StepBar(bar)])
        scores = {name: finite(_score(learn, clips, fit.size)) for name, clips in data.tests.items()}
    log = [dict(zip(("train_loss", "valid_loss", "f2"), map(finite, v), strict=True)) for v in learn.recorder.values]
    if fit.method == "good":
        torch.save(model.state_dict(), folder / "model.pth")
    row = {
        **dataclasses.asdict(fit),
        "dataset": dataset,
        "log": log,
        "f2": scores,
        **told(adapt),
        "seconds": round(time.perf_counter() - begin, 1),
        "versions": versions(),
    }
    write(folder / "run.json", row)
    return row


@functools.cache
def load(source: str, cache: str, sizes: Embedded) -> AudioData:
    """The data set, once a process: "embedded", or the folder of the contest's."""
    return sizes.load(Path(cache)) if source == "embedded" else fsdkaggle2019(Path(source))


def train_from(fit: Fit, *, source: str, cache: str, sizes: Embedded, **kwargs: Any) -> dict[str, Any]:
    """Load and train: what a process of its own is given are paths, not arrays."""
    return train(fit, data=load(source, cache, sizes), dataset=source, **kwargs)


def _before(fit: Fit, out: Path) -> Path:
    path = out / dataclasses.replace(fit, method="good").name / "model.pth"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the method good of seed {fit.seed} first, confound goes on from it")
    return path


def _score(learn: Learner, clips: Clips, size: int) -> Tensor:
    model: Any = learn.model
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        outs = [(model(x.to(device)).cpu(), y.cpu()) for x, y in _loader(clips, size, train=False)]
    return f2(torch.cat([o for o, _ in outs]), torch.cat([y for _, y in outs]))
