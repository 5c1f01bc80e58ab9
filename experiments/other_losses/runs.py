"""One run of a task, with or without adaptlr."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.fashion import OPTIMIZERS as FASHION_OPTIMIZERS
from experiments.other_losses.tasks import ALL, Task
from experiments.recovery import Run, keep, runs_at_all_lrs
from experiments.sweep import fit

OPTIMIZERS = {**FASHION_OPTIMIZERS, "adagrad": torch.optim.Adagrad}
_VALID_SEED = 1000  # views and noise of the validation are the same each time


def all_runs(seeds: Iterable[int], tasks: Iterable[str]) -> list[Run]:
    return runs_at_all_lrs({name: ALL[name].loops for name in tasks}, seeds)


def train(run: Run, *, out: Path, times: int = 1, slot: int = 0) -> None:
    """Train for so many times the task's steps, and write the run's folder. Weights, batches and noise depend on the seed alone."""
    warnings.simplefilter("ignore")
    task = ALL[run.task]
    data = task.data()
    torch.manual_seed(run.seed)
    net = task.net()
    begin = validate(task, net, data) if task.begins_at is None else task.begins_at(tuple(t[task.n_train :] for t in data))
    torch.manual_seed(run.seed)

    def batch_loss(order: torch.Generator) -> Tensor:
        index = torch.randint(task.n_train, (task.batch,), generator=order) if task.batch else torch.arange(task.n_train)
        return task.loss(net, tuple(t[index] for t in data))

    params = [p for p in net.parameters() if p.requires_grad]
    did = fit(run, net, [{"params": params}], OPTIMIZERS, batch_loss, steps=times * task.steps)
    keep(run, out, begin=begin, loss=validate(task, net, data), **did)


def validate(task: Task, net: nn.Module, data: tuple[Tensor, ...]) -> float:
    """Mean loss of the validation part, in batches as large as in training. The generator is left as it was."""
    rest = torch.arange(task.n_train, len(data[0]))
    parts = [p for p in rest.split(task.batch or len(rest)) if len(p) == (task.batch or len(rest))]
    net.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_VALID_SEED)
        mean = statistics.fmean(float(task.loss(net, tuple(t[p] for t in data))) for p in parts)
    net.train()
    return mean
