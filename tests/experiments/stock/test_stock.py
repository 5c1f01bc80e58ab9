"""fastai's own learners: each can be made and fitted, and is the same with the callback until that acts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.torch_core import set_seed
from torchvision.models import resnet18

from experiments.fashion import images
from experiments.imagenet import BODY
from experiments.recovery import Run
from experiments.stock import tasks
from experiments.stock.runs import all_runs, train
from experiments.stock.tasks import TASKS
from experiments.stock.texts import LARGEST, docstrings


@pytest.fixture
def data(blobs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a ResNet-18 in it, and something to look at."""
    monkeypatch.setattr(tasks, "images", lambda *_: images(str(tmp_path), 64, 32))
    tasks._clothes.cache_clear()
    (tmp_path / "FashionMNIST").mkdir()
    (tmp_path / "weights").mkdir()
    state = {k: v for k, v in resnet18(weights=None).state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / BODY)
    yield str(tmp_path)
    tasks._clothes.cache_clear()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")  # fastai 2.8 of a table of pandas 3
@pytest.mark.filterwarnings("ignore:Constructing a Categorical:DeprecationWarning")  # likewise
@pytest.mark.parametrize("name", TASKS)
def test_a_learner_gives_a_loss_that_its_weights_answer_to(name: str, data: str) -> None:
    learn: Any = TASKS[name].learner(data)
    learn.create_opt()
    batch = next(iter(learn.dls.train))
    learn.model.train()
    out = learn.model(*batch[:-1])
    loss = learn.loss_func(out[0] if isinstance(out, tuple) else out, batch[-1])
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and bool(p.grad.any()) for p in learn.model.parameters())


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.filterwarnings("ignore:Constructing a Categorical:DeprecationWarning")
@pytest.mark.parametrize("name", TASKS)
def test_a_learner_has_the_same_batches_each_time(name: str, data: str) -> None:
    firsts = list[Any]()
    for _ in range(2):
        TASKS[name].learner(data)
        set_seed(0)
        learn: Any = TASKS[name].learner(data)
        learn.dls.train.rng = random.Random(0)
        firsts.append(next(iter(learn.dls.train)))
    assert all(torch.equal(a, b) for a, b in zip(*firsts, strict=True))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert TASKS["fine-tuned"].lacks(str(tmp_path)) == ("FashionMNIST", BODY)
    assert TASKS["tabular"].lacks(str(tmp_path)) == ()


def test_texts_are_words_of_all_packages_that_are_to_be_told_apart() -> None:
    texts = docstrings()
    assert len(texts) > 3000
    assert {name for name, _ in texts} >= set(LARGEST)
    assert all(text == text.lower() and len(text.split()) >= 8 for _, text in texts)


def test_a_fit_is_the_same_with_the_callback_until_that_acts(tmp_path: Path) -> None:
    runs = [Run(task="tabular", optimizer="adam", schedule="one-cycle", lr=1e-2, seed=0, method=m) for m in ("plain", "adaptlr")]
    for run in runs:
        train(run, out=tmp_path, data="")
    plain, watched = (json.loads((tmp_path / r.name / "run.json").read_text()) for r in runs)
    assert watched["decisions"] == []
    assert watched["loss"] == plain["loss"] < plain["begin"]


def test_a_fit_that_no_learning_rate_has_begun_well_is_put_right(tmp_path: Path) -> None:
    run = Run(task="tabular", optimizer="adam", schedule="flat", lr=10.0, seed=0, method="adaptlr")
    train(run, out=tmp_path, data="")
    row = json.loads((tmp_path / run.name / "run.json").read_text())
    assert row["decisions"][0]["action"] == "roll back"
    assert row["loss"] < 0.9 * row["begin"]


def test_three_fits_are_all_put_right(tmp_path: Path) -> None:
    run = Run(task="tabular", optimizer="adam", schedule="three fits", lr=1e-6, seed=0, method="adaptlr")
    train(run, out=tmp_path, data="")
    row = json.loads((tmp_path / run.name / "run.json").read_text())
    assert sum("so was the fit before" in d["message"] for d in row["decisions"]) >= 2
    assert row["loss"] < 0.5 * row["begin"]


def test_all_learning_rates_of_all_fits() -> None:
    runs = all_runs([0], ["xresnet", "collab"])
    assert len(runs) == len({r.name for r in runs}) == (1 + 3) * 8 * 2
    assert {r.optimizer for r in runs} == {"ranger", "adam"}
