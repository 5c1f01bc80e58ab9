"""fastai's own learners for tables. Without columns of numbers, their first BatchNorm is one of no features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.progress import ProgressCallback
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.torch_core import set_seed
from fastcore.basics import noop

from adaptlr.fastai import AdaptLR

pytestmark = [
    pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning"),  # fastai's, of pandas
]


def ratings() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 100, 3000), rng.integers(0, 60, 3000)
    liked = 3 + rng.normal(size=100)[user] + rng.normal(size=60)[item] / 2
    return pd.DataFrame({"user": user, "item": item, "rating": liked.clip(1, 5).astype(np.float32)})


@pytest.fixture
def tables() -> Any:
    return CollabDataLoaders.from_df(ratings(), valid_pct=0.2, seed=0, bs=32, num_workers=0)


def net_learner(tables: Any) -> Any:
    set_seed(0)
    learn: Any = collab_learner(tables, use_nn=True, y_range=(0, 5.5), layers=[32])
    learn.remove_cbs([ProgressCallback])
    learn.logger = noop
    return learn


def fitted(tables: Any, lr: float, *cbs: Any) -> tuple[float, dict[str, torch.Tensor]]:
    learn = net_learner(tables)
    learn.fit_one_cycle(2, lr, cbs=list(cbs))
    return float(learn.validate()[0]), learn.model.state_dict()


def test_a_healthy_run_of_a_net_of_embeddings_is_left_alone(tables: Any) -> None:
    watch = AdaptLR()
    _, watched = fitted(tables, 1e-2, watch)
    _, plain = fitted(tables, 1e-2)
    assert watch.trace.readings[0].norm_var is not None
    assert watch.findings == []
    assert all(torch.equal(a, plain[name]) for name, a in watched.items())


@pytest.mark.parametrize("lr", [1e-6, 10.0])
def test_a_ruined_one_is_rescued(tables: Any, lr: float) -> None:
    start = float(net_learner(tables).validate()[0])
    good, ruined, rescued = fitted(tables, 1e-2)[0], fitted(tables, lr)[0], fitted(tables, lr, AdaptLR())[0]
    assert start - ruined < 0.5 * (start - good)
    assert start - rescued > 0.95 * (start - good)
