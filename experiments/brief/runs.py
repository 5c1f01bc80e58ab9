"""A run of the gauntlet that is cut to a few steps: its schedule is that of so many, and its best learning rate another."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from pathlib import Path

from experiments.gauntlet.cells import Cell, Column, uniform
from experiments.gauntlet.job import prepare
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.run import one_thread
from experiments.recovery import Run, keep, runs_at_all_lrs

LENGTHS = (24, 32, 48, 96)

#: These had been looked at when the rules for brief runs were made,
SEEN = (
    "cancer/mlp/adam/flat",
    "clothes/mobile/adamw/flat",
    "clothes/weight-norm/adam/one-cycle",
    "clouds/pointnet/adam/flat",
    "digits/mlp/adam/one-cycle",
    "digits/mlp/sgd/flat",
    "digits/resnet/adam/one-cycle",
    "digits/resnet/nesterov/one-cycle",
    "digits/resnet/sgd/cosine",
    "digits/vgg/adamw/flat",
    "fashion/mlp/adamw/one-cycle",
    "fashion/vgg/sgd/one-cycle",
    "fashion/vit/adam/cosine",
    "friedman/mlp/adam/one-cycle",
    "garments/lenet/sgd/cosine",
    "garments/tanh-mlp/rmsprop/cosine",
    "markers/post-norm/adam/cosine",
    "mirror/encoder/adamw/one-cycle",
    "recall/gru/rmsprop/one-cycle",
    "signals/conv1d/sgd/flat",
    "signals/gru/adam/one-cycle",
    "spirals/selu-mlp/sgd/one-cycle",
    "topics/bag/adam/one-cycle",
    "wine/mlp-bn/sgd/one-cycle",
)
#: and these had not.
UNSEEN = (
    "cancer/mlp-bn/sgd/cosine",
    "characters/lstm/adam/flat",
    "clothes/mixer/adam/cosine",
    "fashion/resnet/adamw/one-cycle",
    "garments/patch-conv/sgd/flat",
    "markers/rnn/adam/one-cycle",
    "mixed/embeddings/adamw/one-cycle",
    "pixels/autoencoder/sgd/one-cycle",
    "recall/lstm/sgd/one-cycle",
    "shapes/unet/adam/one-cycle",
    "spirals/norm-mlp/radam/flat",
    "waves/forecaster/adam/one-cycle",
)
COLUMNS = (*SEEN, *UNSEEN)


def all_runs(seeds: Iterable[int], columns: Iterable[str]) -> list[Run]:
    """Each column in each length, at every learning rate. A run's task is task, net and length."""
    loops: dict[str, list[tuple[str, str]]] = {}
    for column in map(Column.parse, columns):
        for steps in LENGTHS:
            loops.setdefault(f"{column.task} {column.net} {steps}", []).append((column.optimizer, column.schedule))
    return runs_at_all_lrs(loops, seeds)


def steps_of(task: str) -> int:
    return int(task.split(" ")[2])


def column_of(task: str, optimizer: str, schedule: str) -> str:
    """The gauntlet's name of a run's column."""
    name, net, _ = task.split(" ")
    return f"{name}/{net}/{optimizer}/{schedule}"


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """The run, and its folder: 1 less what was reached counts as its loss, as what guessing reaches does as its beginning."""
    column = Column.parse(column_of(run.task, run.optimizer, run.schedule))
    job = prepare(Cell(column=column, plan=uniform(run.lr), seed=run.seed), data)
    job = dataclasses.replace(job, task=dataclasses.replace(job.task, steps=steps_of(run.task)))
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = METHODS[run.method](job)
        try:
            for _ in runner.losses(job.batches()):
                pass
            reached = job.metric(runner.trained())
        finally:
            runner.close()
    decisions = [[d.step, d.text] for d in runner.events.decisions if d.changes]
    keep(run, out, begin=1 - job.task.chance(job.data.y_valid), loss=1 - reached, decisions=decisions)
