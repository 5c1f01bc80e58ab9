"""One run of a task, with or without adaptlr, and what all of them come to."""

from __future__ import annotations

import statistics
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptlr import Controller
from experiments.fashion import OPTIMIZERS as FASHION_OPTIMIZERS
from experiments.fashion import schedule
from experiments.other_losses.tasks import TASKS, Task
from experiments.record import finite, versions, write

LRS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
OPTIMIZERS = {**FASHION_OPTIMIZERS, "adagrad": torch.optim.Adagrad}
HEALTHY = 0.97  # plain recovers as much: nothing to put right
_VALID_SEED = 1000  # views and noise of the validation are the same each time


@dataclass(frozen=True, kw_only=True)
class Run:
    task: str
    optimizer: str
    schedule: str
    lr: float
    seed: int
    method: str  # "plain" or "adaptlr"

    @property
    def name(self) -> str:
        return f"{self.task}-{self.optimizer}-{self.schedule}-{self.lr:g}-{self.method}-seed{self.seed}"


def all_runs(seeds: Iterable[int], tasks: Iterable[str], methods: Iterable[str] = ("plain", "adaptlr")) -> list[Run]:
    return [
        Run(task=name, optimizer=o, schedule=s, lr=lr, seed=seed, method=method)
        for name in tasks
        for o, s in TASKS[name].loops
        for lr in LRS
        for seed in seeds
        for method in methods
    ]


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


def recovered(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a cell and method, mean of seeds: the share of the way from the loss at the beginning down to the best fixed
    learning rate's that a run ends with. More than all of it counts as 1, and less than nothing as 0."""
    by_cell: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for r in rows:
        by_cell[r["task"], r["optimizer"], r["schedule"], r["lr"], r["method"]].append(r)
    best: dict[tuple[Any, ...], float] = {}
    for (*column, _, method), runs in by_cell.items():
        if method == "plain" and all(r["loss"] is not None for r in runs):
            mean = statistics.fmean(r["loss"] for r in runs)
            best[tuple(column)] = min(best.get(tuple(column), mean), mean)
    out = []
    for (task, optimizer, name, lr, method), runs in sorted(by_cell.items()):
        least = best[task, optimizer, name]
        begin = statistics.fmean(r["begin"] for r in runs)
        shares = [0.0 if r["loss"] is None else min(1.0, max(0.0, (begin - r["loss"]) / (begin - least))) for r in runs]
        out.append(
            {
                "task": task,
                "optimizer": optimizer,
                "schedule": name,
                "lr": lr,
                "method": method,
                "begin": round(begin, 4),
                "best": round(least, 4),
                "recovered": round(statistics.fmean(shares), 4),
                "worst_seed": round(min(shares), 4),
                "runs": len(runs),
                "runs_with_decision": sum(bool(r.get("decisions")) for r in runs),
            }
        )
    return out


def summary(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per method: mean, 5th percentile and worst cell; task by task; and what was done to healthy ones."""
    cells = list(cells)
    plain = {_place(c): c["recovered"] for c in cells if c["method"] == "plain"}
    out: dict[str, Any] = {}
    for method in dict.fromkeys(c["method"] for c in cells):
        mine = [c for c in cells if c["method"] == method]
        healthy = [c for c in mine if plain[_place(c)] >= HEALTHY]
        every = sorted(c["recovered"] for c in mine)
        out[method] = {
            "mean": round(statistics.fmean(every), 3),
            "p5": round(every[len(every) // 20], 3),
            "worst": every[0],
            "by_task": {
                t: round(statistics.fmean(c["recovered"] for c in mine if c["task"] == t), 3)
                for t in dict.fromkeys(c["task"] for c in mine)
            },
            "healthy_runs": sum(c["runs"] for c in healthy),
            "healthy_runs_with_decision": sum(c["runs_with_decision"] for c in healthy),
            "worst_healthy": min((c["recovered"] for c in healthy), default=None),
        }
    return out


def _place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["task"], cell["optimizer"], cell["schedule"], cell["lr"]
