"""One fit of a fastai learner, with or without adaptlr."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from fastai.torch_core import set_seed

from adaptlr.fastai import AdaptLR
from experiments.record import told
from experiments.recovery import Run, keep, runs_at_all_lrs
from experiments.stock.tasks import TASKS, Task


def all_runs(seeds: Iterable[int], tasks: Iterable[str]) -> list[Run]:
    return runs_at_all_lrs({name: [(TASKS[name].optimizer, fit) for fit in TASKS[name].fits] for name in tasks}, seeds)


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """Fit, and write the run's folder. Weights, batches and dropout depend on the seed alone."""
    warnings.simplefilter("ignore")
    task = TASKS[run.task]
    task.learner(data)  # what is made once a process has drawn its random numbers by then
    set_seed(run.seed)
    learn: Any = task.learner(data)
    begin = _validate(learn)
    set_seed(run.seed)
    learn.dls.train.rng = random.Random(run.seed)
    adapt = AdaptLR() if run.method == "adaptlr" else None
    with learn.no_bar(), learn.no_logging():
        fit(learn, run, task, cbs=[adapt] if adapt else [])
    keep(run, out, begin=begin, loss=_validate(learn), **(told(adapt) if adapt else {}))


def fit(learn: Any, run: Run, task: Task, *, cbs: list[AdaptLR]) -> None:
    """As fastai's user calls it."""
    if run.schedule == "fine-tune":
        learn.fine_tune(task.epochs, run.lr, cbs=cbs)
    elif run.schedule == "three fits":
        for _ in range(3):
            learn.fit_one_cycle(1, run.lr, cbs=cbs)
    elif run.schedule == "one-cycle":
        learn.fit_one_cycle(task.epochs, run.lr, cbs=cbs)
    else:
        learn.fit(task.epochs, run.lr, cbs=cbs)


def _validate(learn: Any) -> float:
    with learn.no_bar(), torch.random.fork_rng(devices=[]):
        return float(learn.validate()[0])
