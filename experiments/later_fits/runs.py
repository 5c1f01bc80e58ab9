"""Fits that come after another: three in a row at one learning rate, or a second that is at another than the first."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adaptlr import Action, Controller
from adaptlr.judge.outlook import Lesson
from experiments.fashion import schedule
from experiments.gauntlet.cells import Cell, Column, uniform
from experiments.gauntlet.job import Job, prepare
from experiments.gauntlet.optimizers import port, set_lrs
from experiments.gauntlet.run import one_thread
from experiments.recovery import Run, keep, runs_at_all_lrs

FIT = 0.5  # of the steps that a run of the gauntlet has
INTERRUPTED = 6  # steps of a first fit that is stopped, before anything is judged,
TINY = 1e-6  # and its learning rate: nothing is learned


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one fit follows another."""

    fits: int
    first: Literal["the same", "good", "interrupted"]  # at the run's learning rate, at the column's best, or soon stopped
    new_optimizer: bool  # each has its own, as of Lightning's ``trainer.fit``; or else all have one, as of fastai's ``learn.fit``


KINDS = {
    "three fits": Kind(fits=3, first="the same", new_optimizer=False),
    "three fits, new optimizers": Kind(fits=3, first="the same", new_optimizer=True),
    "after a good fit": Kind(fits=2, first="good", new_optimizer=False),
    "after a good fit, new optimizer": Kind(fits=2, first="good", new_optimizer=True),
    "after an interrupted fit": Kind(fits=2, first="interrupted", new_optimizer=False),
    "after an interrupted fit, new optimizer": Kind(fits=2, first="interrupted", new_optimizer=True),
}

#: Columns of the gauntlet, and the best of its learning rates there.
COLUMNS = {
    "cancer/mlp-bn/adamw/flat": 1e-1,
    "clothes/weight-norm/sgd/cosine": 1e-1,
    "clouds/pointnet/sgd/flat": 1e-1,
    "diabetes/mlp-bn/nesterov/flat": 1e-3,
    "digits/mlp/adam/cosine": 1e-2,
    "digits/resnet/rmsprop/cosine": 1e-2,
    "fashion/mlp/sgd/cosine": 1e-1,
    "fashion/vgg/adam/flat": 1e-3,
    "fashion/vit/adamw/cosine": 1e-3,
    "garments/lenet/adamw/flat": 1e-3,
    "garments/tanh-mlp/sgd/cosine": 1e-2,
    "markov/transformer/adamw/one-cycle": 1e-1,
    "mirror/encoder/adam/cosine": 1e-3,
    "mixed/embeddings/adam/one-cycle": 1e-2,
    "pixels/autoencoder/adam/flat": 1e-2,
    "ratings/factors/adam/one-cycle": 1e-2,
    "recall/lstm/adamw/flat": 1e-3,
    "shapes/unet/adamw/flat": 1e-2,
    "signals/conv1d/adam/flat": 1e-2,
}
_BY_NET = {f"{c.task} {c.net}": c for c in map(Column.parse, COLUMNS)}
NETS = tuple(_BY_NET)


def all_runs(seeds: Iterable[int], nets: Iterable[str]) -> list[Run]:
    """Each kind of each net's column at every learning rate."""
    return runs_at_all_lrs({net: [(_BY_NET[net].optimizer, kind) for kind in KINDS] for net in nets}, seeds)


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """All fits of a run, and write its folder: 1 less what was reached counts as its loss, as what guessing reaches does as its
    beginning. Weights and batches depend on the seed alone."""
    column, kind = _BY_NET[run.task], KINDS[run.schedule]
    job = prepare(Cell(column=column, plan=uniform(run.lr), seed=run.seed), data)
    first = {"the same": run.lr, "good": COLUMNS[column.name], "interrupted": TINY}[kind.first]
    lrs = [first, *[run.lr] * (kind.fits - 1)]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reached, decisions = _fit_all(job, kind, lrs, watched=run.method == "adaptlr")
    begin = 1 - job.task.chance(job.data.y_valid)
    judged = decisions if kind.first == "the same" else decisions[1:]
    keep(run, out, begin=begin, loss=1 - reached[-1], reached=reached, decisions=[*itertools.chain(*judged)])


def _fit_all(job: Job, kind: Kind, lrs: list[float], *, watched: bool) -> tuple[list[float], list[list[list[Any]]]]:
    """What is reached after each fit, and what is changed in it: step, action and words."""
    batches, steps = job.batches(), round(FIT * job.steps)
    multiplier = schedule(job.cell.column.schedule, steps)
    optimizer: Any = None
    lesson: Lesson | None = None
    reached, decisions = list[float](), list[list[list[Any]]]()
    for number, lr in enumerate(lrs):
        if optimizer is None or kind.new_optimizer:
            optimizer = job.optimizer((lr,))
        set_lrs(optimizer, [lr])
        told: dict[str, Any] = {"total_steps": steps, "peak_lrs": [lr], "lesson": lesson, "announce": lambda _: None}
        ctl = Controller(job.model, port(optimizer), **told).__enter__() if watched else None
        until = INTERRUPTED if kind.first == "interrupted" and number == 0 else steps
        for i, (x, y) in zip(range(until), batches, strict=False):
            set_lrs(optimizer, [lr * multiplier(i)])
            loss = job.loss(x, y, i)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ctl is not None:
                ctl.step(loss)
        reached.append(job.metric(job.model))
        if ctl is not None:
            ctl.close()
            lesson = ctl.lesson
            decisions.append([[d.step, str(d.action), d.message] for d in ctl.decisions if d.action is not Action.HOLD])
    return reached, decisions
