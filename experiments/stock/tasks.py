"""fastai's own learners, as its documentation makes them, on data that is there without a download.

Each builder is given the data folder, and makes a new Learner from the present random state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.data.core import DataLoaders
from fastai.layers import ConvLayer
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy
from fastai.optimizer import ranger
from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner
from fastai.text.all import AWD_LSTM, BaseTokenizer, TextDataLoaders, awd_lstm_clas_config, awd_lstm_lm_config
from fastai.text.learner import language_model_learner, text_classifier_learner
from fastai.vision.models.xresnet import xresnet18
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.fashion import images
from experiments.imagenet import BODY, in_colour
from experiments.seed_learner import resnet18_learner
from experiments.stock.texts import LARGEST, docstrings

_NO_WORKERS: dict[str, Any] = {"num_workers": 0}
_TEXTS: dict[str, Any] = {"text_col": "text", "seed": 1, "bs": 32, "tok_tfm": BaseTokenizer(), **_NO_WORKERS}
_SMALL_LSTM = {"emb_sz": 48, "n_hid": 96, "n_layers": 2}


@dataclass(frozen=True, kw_only=True)
class Task:
    what: str
    learner: Callable[[str], Learner]
    epochs: int
    fits: tuple[str, ...] = ("one-cycle",)  # of fastai: "one-cycle", "flat", "fine-tune", or "three fits"
    needs: tuple[str, ...] = ()  # in the data folder
    optimizer: str = "adam"  # that the learner has

    def lacks(self, data: str) -> tuple[str, ...]:
        return tuple(n for n in self.needs if not (Path(data) / n).exists())


@lru_cache
def _ratings() -> DataLoaders:
    """12,000 ratings of 300 things by 400 people, from tastes of four kinds; a few things have most of them."""
    r, n_users, n_items, n = np.random.RandomState(0), 400, 300, 12_000
    users, items = r.randn(n_users, 4), r.randn(n_items, 4)
    liberal, good = r.randn(n_users) * 0.4, r.randn(n_items) * 0.5
    u, i = r.randint(0, n_users, n), np.minimum((r.pareto(1.0, n) * 15).astype(int), n_items - 1)
    stars = 3.5 + liberal[u] + good[i] + 0.4 * (users[u] * items[i]).sum(1) + 0.4 * r.randn(n)
    table = pd.DataFrame({"user": u, "item": i, "rating": np.clip(np.round(stars), 1, 5).astype("float32")})
    return CollabDataLoaders.from_df(table, valid_pct=0.2, seed=1, bs=64, **_NO_WORKERS)


def dot_product(_: str) -> Learner:
    return collab_learner(_ratings(), n_factors=20, y_range=(0, 5.5))


def embedding_net(_: str) -> Learner:
    return collab_learner(_ratings(), use_nn=True, y_range=(0, 5.5), layers=[64, 32])


@lru_cache
def _rows() -> Any:
    """6,000 rows of four categories and five numbers, of which a sum with interactions is above nothing or not."""
    r, n, sizes = np.random.RandomState(0), 6000, (8, 20, 5, 40)
    columns, x = [r.randint(0, k, n) for k in sizes], r.randn(n, 5)
    effects = [r.randn(k) for k in sizes]
    total = sum(e[c] for e, c in zip(effects, columns, strict=True)) + x[:, 0] * effects[0][columns[0]]
    total = total + 2 * np.abs(x[:, 1]) - x[:, 2] * x[:, 3] - 1.5 + 0.7 * r.randn(n)
    table: dict[str, Any] = {f"c{j}": c for j, c in enumerate(columns)}
    table |= {f"x{j}": x[:, j].astype("float32") for j in range(5)}
    table["y"] = np.where(total > 0, "above", "below")
    return TabularDataLoaders.from_df(
        pd.DataFrame(table),
        procs=[Categorify, Normalize],
        cat_names=[f"c{j}" for j in range(4)],
        cont_names=[f"x{j}" for j in range(5)],
        y_names=["y"],
        valid_idx=list(range(4500, n)),
        bs=64,
        **_NO_WORKERS,
    )


def tabular(_: str) -> Learner:
    return tabular_learner(_rows(), layers=[100, 50])


@lru_cache
def _prose() -> DataLoaders:
    texts = [text for _, text in docstrings()]
    some = [texts[i] for i in np.random.RandomState(0).permutation(len(texts))[:3000]]
    return TextDataLoaders.from_df(pd.DataFrame({"text": some}), is_lm=True, valid_pct=0.15, seq_len=32, **_TEXTS)


def language_model(_: str) -> Learner:
    config = {**awd_lstm_lm_config, **_SMALL_LSTM}
    dls = DataLoaders(*(loader.new() for loader in _prose()))  # each puts its texts in another order, from that of the last one
    return language_model_learner(dls, AWD_LSTM, config=config, pretrained=False, drop_mult=0.3)


@lru_cache
def _packages() -> DataLoaders:
    table = pd.DataFrame([(text, name) for name, text in docstrings() if name in LARGEST], columns=["text", "label"])
    return TextDataLoaders.from_df(table, label_col="label", valid_pct=0.2, seq_len=40, **_TEXTS)  # type: ignore[arg-type]


def text_classifier(_: str) -> Learner:
    config = {**awd_lstm_clas_config, **_SMALL_LSTM}
    return text_classifier_learner(_packages(), AWD_LSTM, config=config, pretrained=False, drop_mult=0.3)


@lru_cache
def _clothes(data: str, size: int, batch: int) -> DataLoaders:
    x, y, x_valid, y_valid = images(data, 2000, 1000)
    return loaders((in_colour(x, size), y), (in_colour(x_valid, size), y_valid), batch=batch, classes=10)


def loaders(train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], *, batch: int, classes: int) -> DataLoaders:
    sets = [list(zip(x, y, strict=True)) for x, y in (train, valid)]
    dls = DataLoaders.from_dsets(*sets, bs=batch, val_bs=200, shuffle=True, **_NO_WORKERS)
    dls.c = classes  # type: ignore[attr-defined]  (fastai's own way)
    return dls


def xresnet(data: str) -> Learner:
    under: Any = ranger
    return Learner(_clothes(data, 28, 64), xresnet18(n_out=10), loss_func=LabelSmoothingCrossEntropy(), opt_func=under)


def fine_tuned(data: str) -> Learner:
    """``vision_learner`` around a ResNet-18 that ImageNet has taught, frozen but for its norms and its new head."""
    dls = _clothes(data, 32, 32)
    return resnet18_learner(dls, 10, pretrained=True, weights=Path(data) / BODY, loss_func=CrossEntropyLossFlat())


@lru_cache
def _shapes() -> DataLoaders:
    """Discs, brighter, and squares, darker, in noise of half their contrast; what is seen first may be hidden by what is next."""
    g, n, size = torch.Generator().manual_seed(0), 700, 32
    x, y = 0.6 * torch.randn(n, 1, size, size, generator=g), torch.zeros(n, size, size, dtype=torch.long)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for i in range(n):
        for kind in (1, 2):
            at_x, at_y, r = (torch.rand(3, generator=g) * torch.tensor([24.0, 24.0, 5.0]) + torch.tensor([4.0, 4.0, 2.0])).tolist()
            dx, dy = columns - at_x, rows - at_y
            inside = dx**2 + dy**2 < r * r if kind == 1 else (dx.abs() < r) & (dy.abs() < r)
            y[i][inside] = kind
            x[i, 0][inside] += 0.8 if kind == 1 else -0.8
    return loaders((x[:560], y[:560]), (x[560:], y[560:]), batch=16, classes=3)


class UNet(nn.Module):
    """Three depths of fastai's ``ConvLayer``, two of them joined again on the way up."""

    def __init__(self, widths: tuple[int, int, int] = (12, 24, 48), classes: int = 3) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(a, b) for a, b in pairwise((1, *widths)))
        self.up = nn.ModuleList(_pair(a + b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = list[Tensor]()
        for down in self.down:
            x = down(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for up, skip in zip(self.up, seen[-2::-1], strict=True):
            x = up(torch.cat([skip, F.interpolate(x, scale_factor=2)], 1))
        return self.head(x)


def _pair(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(ConvLayer(n_in, n_out), ConvLayer(n_out, n_out))


def segmentation(_: str) -> Learner:
    return Learner(_shapes(), UNet(), loss_func=CrossEntropyLossFlat(axis=1))


_FASHION = ("FashionMNIST",)
_ALSO_THREE = ("one-cycle", "flat", "three fits")
TASKS = {
    "collab": Task(what="collab_learner: a dot product of embeddings", learner=dot_product, epochs=2, fits=_ALSO_THREE),
    "collab net": Task(what="collab_learner with use_nn", learner=embedding_net, epochs=2, fits=_ALSO_THREE),
    "tabular": Task(what="tabular_learner", learner=tabular, epochs=2, fits=_ALSO_THREE),
    "segmentation": Task(what="a small U-Net", learner=segmentation, epochs=3, fits=_ALSO_THREE),
    "xresnet": Task(what="xresnet18 under ranger, labels smoothed", learner=xresnet, epochs=3, needs=_FASHION, optimizer="ranger"),
    "language model": Task(what="language_model_learner, AWD-LSTM, not pretrained", learner=language_model, epochs=2),
    "text classifier": Task(what="text_classifier_learner, AWD-LSTM, not pretrained", learner=text_classifier, epochs=3),
    "fine-tuned": Task(
        what="vision_learner, ResNet-18 from ImageNet",
        learner=fine_tuned,
        epochs=2,
        fits=("fine-tune",),
        needs=(*_FASHION, BODY),
    ),
}
