"""One run of a task, with or without adaptlr."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from adaptlr import Controller
from experiments.fashion import OPTIMIZERS as FASHION_OPTIMIZERS
from experiments.fashion import schedule
from experiments.other_losses.tasks import TASKS, Task
from experiments.record import finite, versions, write
from experiments.recovery import Run, runs_at_all_lrs

OPTIMIZERS = {**FASHION_OPTIMIZERS, "adagrad": torch.optim.Adagrad}
_VALID_SEED = 1000  # views and noise of the validation are the same each time


def all_runs(seeds: Iterable[int], tasks: Iterable[str]) -> list[Run]:
    return runs_at_all_lrs({name: TASKS[name].loops for name in tasks}, seeds)


def train(run: Run, *, out: Path, slot: int = 0) -> None:
    """Train, and write the run's folder. Weights, batches and noise depend on the seed alone."""
    warnings.simplefilter("ignore")
    task = TASKS[run.task]
    data = task.data()
    torch.manual_seed(run.seed)
    net = task.net()
    begin = validate(task, net, data)
    optimizer = OPTIMIZERS[run.optimizer](net.parameters(), lr=run.lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(run.schedule, task.steps))
    watch = Controller(net, optimizer, total_steps=task.steps, peak_lrs=[run.lr]) if run.method == "adaptlr" else None
    order = torch.Generator().manual_seed(run.seed)
    torch.manual_seed(run.seed)
    with watch or nullcontext():
        for _ in range(task.steps):
            index = torch.randint(task.n_train, (task.batch,), generator=order) if task.batch else torch.arange(task.n_train)
            loss = task.loss(net, tuple(t[index] for t in data))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if watch is not None:
                watch.step(loss)
            scheduler.step()
    row = {**asdict(run), "begin": begin, "loss": finite(validate(task, net, data)), **versions()}
    if watch is not None:
        row["decisions"] = [[d.step, str(d.action), d.message] for d in watch.decisions]
    (out / run.name).mkdir(parents=True, exist_ok=True)
    write(out / run.name / "run.json", row)


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
